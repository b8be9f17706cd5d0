using Vmm.Events.Buffers;
using Vmm.Events.Tasks;

namespace Vmm.Events.Rings;

/// <summary>Transfers that go on until all is done, however little the kernel moves at a time.</summary>
public sealed partial class IoRing
{
    /// <summary>
    /// Writes several frozen buffers until all is out, however little the kernel takes at a time. It ends early with an error, with
    /// a write of nothing, or when it is aborted; the result says how much went out. After an abort that is not known: the file then says
    /// so (<see cref="RingFile.IsCut"/>), and refuses to be written after that if it is a stream.
    /// </summary>
    /// <param name="file">Where to.</param>
    /// <param name="frozen">
    /// What, 1 to <see cref="IoVectors.CountMax"/>. The shares come back with the result; an abort releases them.
    /// </param>
    /// <param name="offset">Byte position in the file, or <see cref="CurrentPosition"/> for a stream.</param>
    /// <exception cref="InvalidOperationException">
    /// An earlier write to this stream was aborted: part of a frame may be out, so that nothing can follow it.
    /// </exception>
    /// <inheritdoc cref="Read" path="/exception"/>
    public async ReactorTask<FrozenBuffersResult> WriteAll(RingFile file, FrozenBuffer[] frozen, ulong offset = CurrentPosition)
    {
        ArgumentNullException.ThrowIfNull(frozen);
        CheckFile(file);
        bool isStream = offset == CurrentPosition;
        if (isStream && file.IsCut)
            throw new InvalidOperationException(
                "a write to this stream was aborted, and part of it may be out: what is written now would not be understood. Close it");
        FrozenBuffer[] shares = Take(frozen, out IoVectors vectors);
        long asked = vectors.Bytes;
        bool isDone = false;
        try
        {
            while (true)
            {
                ulong at = isStream ? offset : offset + (ulong)(asked - vectors.Bytes);
                FrozenBuffersResult step =
                    await Start<FrozenVectorEvent, FrozenBuffersResult>(new FrozenVectorEvent(shares, vectors, at), file);
                if (step.Result.Value > 0) vectors.Advance(step.Result.Value);
                // A ring that ended meanwhile takes nothing more.
                if (vectors.Bytes != 0 && !_draining && step.Result.Value > 0) continue;
                isDone = true;
                return new FrozenBuffersResult(step.Result, shares, asked - vectors.Bytes, asked);
            }
        }
        finally
        {
            if (!isDone && isStream) file.IsCut = true;
        }
    }

    /// <summary>
    /// Reads behind the written bytes of a buffer until so many are there, however little comes at a time. It ends early with an error, at
    /// the end of the file or stream (<see cref="BufferResult.IsShort"/>), or when it is aborted, which releases the buffer.
    /// </summary>
    /// <param name="file">Where from.</param>
    /// <param name="buffer">Where to. It comes back with the result.</param>
    /// <param name="count">Bytes, 1 or more; there must be room for them.</param>
    /// <param name="offset">Byte position in the file, or <see cref="CurrentPosition"/> for a stream.</param>
    /// <returns>
    /// How many bytes came, or the error of the call that failed; <see cref="SlabBuffer.Written"/> counts those that came before an error.
    /// </returns>
    /// <inheritdoc cref="Read" path="/exception"/>
    public async ReactorTask<BufferResult> ReadAll(RingFile file, SlabBuffer buffer, int count, ulong offset = CurrentPosition)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        int done = 0;
        while (true)
        {
            ulong at = offset == CurrentPosition ? offset : offset + (ulong)done;
            BufferResult step = await Read(file, buffer, at, count - done);
            buffer = step.Buffer;
            if (step.Result.Value < 0) return step with { Asked = count };
            done += step.Result.Value;
            // The end of the file, all that was asked for, or a ring that takes nothing more.
            if (step.Result.Value == 0 || done == count || _draining) return new BufferResult(new RingResult(done), buffer, count);
        }
    }
}
