using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>Reads of what the kernel has in its page cache, which never wait for a disk (preadv2(2), RWF_NOWAIT).</summary>
internal sealed class CachedReads(int file)
{
    private bool _unknown;

    /// <summary>Fills as much of an operation as is there.</summary>
    /// <returns>Whether that is all of it; otherwise the rest is still to be read.</returns>
    internal bool TryRead(BlockOperation operation)
    {
        if (_unknown || operation.Vectors.Length > FileCalls.VectorsMax) return false;
        nint done = FileCalls.Read(file, operation.Vectors, (long)operation.Offset, FileCalls.RWF_NOWAIT, out Errno error);
        // Some file systems know no reading without waiting: they are not asked again.
        if (error is Errno.NotSupported or Errno.Invalid) _unknown = true;
        if (done > 0) operation.Advance((ulong)done);
        return operation.Remaining == 0;
    }
}
