namespace Vmm.Events.Native;

/// <summary>Anonymous memory straight from the kernel (mmap(2), mprotect(2)).</summary>
internal static unsafe partial class Libc
{
    internal const int PageBytes = 4096;

    private const int PROT_NONE = 0;
    private const int MAP_PRIVATE_ANONYMOUS = 0x22;

    [LibraryImport(Name, EntryPoint = "mprotect", SetLastError = true)]
    private static partial int MemoryProtect(nint address, nuint length, int protection);

    /// <summary>Maps zeroed pages that are read and written by this process only.</summary>
    internal static nint MapPages(nuint bytes)
    {
        // SAFETY: a fresh mapping, nothing else is at that address.
        nint address = (nint)Map(null, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
        return address != -1 ? address : throw new KernelException($"cannot map {bytes} bytes", LastError);
    }

    /// <summary>Gives pages back. Neither this process nor the kernel may touch them from now on.</summary>
    internal static void UnmapPages(nint address, nuint bytes)
    {
        // SAFETY: the caller mapped it and guarantees that it is not used any more.
        if (Unmap((void*)address, bytes) != 0) throw new KernelException($"cannot unmap {bytes} bytes", LastError);
    }

    /// <summary>Makes any access to the pages fault: SIGSEGV for this process, EFAULT for the kernel on its behalf.</summary>
    internal static void ForbidPages(nint address, nuint bytes)
    {
        if (MemoryProtect(address, bytes, PROT_NONE) != 0) throw new KernelException($"cannot protect {bytes} bytes", LastError);
    }
}
