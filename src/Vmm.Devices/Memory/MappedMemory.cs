namespace Vmm.Devices;

/// <summary>A shared mapping of a file (mmap(2)), unmapped once. The finalizer is the backstop of a region that was not disposed.</summary>
internal sealed class MappedMemory : SafeHandle
{
    private readonly nuint _length;
    private readonly MappingBudget.Account? _account;
    private readonly int _guard = -1;

    private MappedMemory(nint address, nuint length, MappingBudget.Account? account) : base(0, ownsHandle: true)
    {
        _length = length;
        _account = account;
        SetHandle(address);
        if (account is null) return;
        // The handler signals it by its number: that must not become another file's while this is mapped.
        bool isHeld = false;
        account.Lost.DangerousAddRef(ref isHeld);
        _guard = BusErrorGuard.Protect(address, length, account.Lost);
    }

    public override bool IsInvalid => handle == 0;

    internal nint Address => handle;

    /// <summary>
    /// Maps a page-aligned window of a file, which is needed for the call only, for reading and writing; it is no part of a core dump. Huge
    /// pages are reserved: without that a page fault that finds none free ends the process (SIGBUS). A front-end's account was charged for
    /// the window, and gets the charge back; memory of our own has none.
    /// </summary>
    internal static Errno Map(OwnedFd file, ulong offset, ulong length, bool isHuge,
        MappingBudget.Account? account, out MappedMemory? mapping)
    {
        int flags = MemoryCalls.MAP_SHARED | (isHuge ? 0 : MemoryCalls.MAP_NORESERVE);
        nint address = Map(0, (nuint)length, flags, file.Number, (long)offset);
        mapping = address == MemoryCalls.MapFailed ? null : new MappedMemory(address, (nuint)length, account);
        return mapping is null ? CallResult.LastError : Errno.None;
    }

    /// <summary>Maps a page-aligned window of a file for reading and writing; what is written stays in this process.</summary>
    internal static Errno MapPrivate(OwnedFd file, ulong offset, ulong length, out MappedMemory? mapping)
    {
        nint address = Map(0, (nuint)length, MemoryCalls.MAP_PRIVATE | MemoryCalls.MAP_NORESERVE, file.Number, (long)offset);
        mapping = address == MemoryCalls.MapFailed ? null : new MappedMemory(address, (nuint)length, null);
        return mapping is null ? CallResult.LastError : Errno.None;
    }

    /// <summary>Maps memory of zeros, with no file behind it, over a part of a mapping.</summary>
    internal static bool TryMapZeros(nint address, nuint length)
    {
        const int flags = MemoryCalls.MAP_PRIVATE | MemoryCalls.MAP_ANONYMOUS | MemoryCalls.MAP_FIXED | MemoryCalls.MAP_NORESERVE;
        return Map(address, length, flags, -1, 0) != MemoryCalls.MapFailed;
    }

    /// <summary>Maps a window of a file over a part of a mapping; what is written stays in this process.</summary>
    internal static bool TryMapOver(nint address, nuint length, OwnedFd file, long offset)
    {
        const int flags = MemoryCalls.MAP_PRIVATE | MemoryCalls.MAP_FIXED | MemoryCalls.MAP_NORESERVE;
        return Map(address, length, flags, file.Number, offset) != MemoryCalls.MapFailed;
    }

    private static nint Map(nint place, nuint length, int flags, int file, long offset)
    {
        nint address = MemoryCalls.Map(place, length, MemoryCalls.PROT_READ | MemoryCalls.PROT_WRITE, flags, file, offset);
        // A crash of this process must write neither the guest's secrets nor its gigabytes to a disk. A kernel that can't is no reason to
        // do without.
        if (address != MemoryCalls.MapFailed) _ = MemoryCalls.Advise(address, length, MemoryCalls.MADV_DONTDUMP);
        return address;
    }

    protected override bool ReleaseHandle()
    {
        BusErrorGuard.Release(_guard);
        bool isUnmapped = MemoryCalls.Unmap(handle, _length) == 0;
        if (_account is null) return isUnmapped;
        _account.Release(_length);
        _account.Lost.DangerousRelease();
        return isUnmapped;
    }
}
