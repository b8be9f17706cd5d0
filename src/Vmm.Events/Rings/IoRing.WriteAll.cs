using Vmm.Events.Buffers;
using Vmm.Events.Tasks;

namespace Vmm.Events.Rings;

public sealed partial class IoRing
{
    /// <summary>
    /// Writes several frozen buffers until all is out, however little the kernel takes at a time. It ends early with an error, with
    /// a write of nothing, or when it is aborted; the result says how much went out.
    /// </summary>
    /// <param name="file">Where to.</param>
    /// <param name="frozen">What, 1 to <see cref="IoVectors.CountMax"/>. The shares come back with the result; an abort releases them.</param>
    /// <param name="offset">Byte position in the file, or <see cref="CurrentPosition"/>.</param>
    /// <inheritdoc cref="Read" path="/exception"/>
    public async ReactorTask<FrozenBuffersResult> WriteAll(RingFile file, FrozenBuffer[] frozen, ulong offset = CurrentPosition)
    {
        ArgumentNullException.ThrowIfNull(frozen);
        CheckFile(file);
        FrozenBuffer[] shares = Take(frozen, out IoVectors vectors);
        long asked = vectors.Bytes;
        while (true)
        {
            ulong at = offset == CurrentPosition ? offset : offset + (ulong)(asked - vectors.Bytes);
            FrozenBuffersResult step = await Start<FrozenVectorEvent, FrozenBuffersResult>(new FrozenVectorEvent(shares, vectors, at), file);
            if (step.Result.Value > 0) vectors.Advance(step.Result.Value);
            // A ring that ended meanwhile takes nothing more.
            if (vectors.Bytes == 0 || _draining || step.Result.Value <= 0)
                return new FrozenBuffersResult(step.Result, shares, asked - vectors.Bytes, asked);
        }
    }
}
