namespace Vmm.Events.Native;

internal static unsafe partial class Libc
{
    internal const int SYS_pidfd_open = 434;

    // As a system call: C libraries older than 2.36 have no function for it.
    [LibraryImport(Name, EntryPoint = "syscall", SetLastError = true)]
    private static partial nint PidFdOpenSyscall(nint number, int pid, uint flags);

    /// <summary>pidfd_open(2): the descriptor, or -1 and <see cref="LastError"/>.</summary>
    internal static int OpenPidFd(int pid) => (int)PidFdOpenSyscall(SYS_pidfd_open, pid, 0);
}
