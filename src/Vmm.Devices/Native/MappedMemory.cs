using System.Runtime.InteropServices;
using Vmm.Events;

namespace Vmm.Devices.Native;

/// <summary>A shared mapping of a file (mmap(2)), unmapped once. The finalizer is the backstop of a region nobody disposed.</summary>
internal sealed class MappedMemory : SafeHandle
{
    private readonly nuint _length;

    private MappedMemory(nint address, nuint length) : base(0, ownsHandle: true)
    {
        _length = length;
        SetHandle(address);
    }

    public override bool IsInvalid => handle == 0;

    internal nint Address => handle;

    /// <summary>Maps a page-aligned window of a file for reading and writing.</summary>
    internal static Errno Map(OwnedFd file, ulong offset, ulong length, out MappedMemory? mapping)
    {
        nint address = MemoryCalls.Map(0, (nuint)length, MemoryCalls.PROT_READ | MemoryCalls.PROT_WRITE,
            MemoryCalls.MAP_SHARED | MemoryCalls.MAP_NORESERVE, file.Number, (long)offset);
        mapping = address == MemoryCalls.MapFailed ? null : new MappedMemory(address, (nuint)length);
        return mapping is null ? MemoryCalls.LastError : Errno.None;
    }

    protected override bool ReleaseHandle() => MemoryCalls.Unmap(handle, _length) == 0;
}
