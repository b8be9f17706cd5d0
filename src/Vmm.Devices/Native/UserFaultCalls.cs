namespace Vmm.Devices.Native;

/// <summary>userfaultfd(2) and the requests on its descriptors (ioctl_userfaultfd(2)).</summary>
internal static partial class UserFaultCalls
{
    private const int UserfaultfdCall = 323;

    internal const uint USERFAULTFD_IOC_NEW = 0xaa00;
    internal const uint UFFDIO_API = 0xc018aa3f;
    internal const uint UFFDIO_REGISTER = 0xc020aa00;
    internal const uint UFFDIO_UNREGISTER = 0x8010aa01;
    internal const uint UFFDIO_WRITEPROTECT = 0xc018aa06;

    /// <summary>A descriptor; less than 0 if the kernel refuses.</summary>
    internal static int Open(int flags) => (int)Call(UserfaultfdCall, flags);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint Call(nint number, nint flags);
}

/// <summary>struct uffdio_api.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct UserFaultApi
{
    internal ulong Api;
    internal ulong Features;
    internal ulong Ioctls;
}

/// <summary>struct uffdio_register.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct UserFaultRange
{
    internal ulong Start;
    internal ulong Length;
    internal ulong Mode;
    internal ulong Ioctls;
}

/// <summary>struct uffdio_writeprotect; without its mode, struct uffdio_range.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct UserFaultProtect
{
    internal ulong Start;
    internal ulong Length;
    internal ulong Mode;
}
