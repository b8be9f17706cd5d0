namespace Vmm.Events.Native;

/// <summary>The three calls of io_uring, which libc does not wrap, and the mapping of its rings.</summary>
internal static unsafe partial class Libc
{
    internal const int PROT_READ = 1;
    internal const int PROT_WRITE = 2;
    internal const int MAP_SHARED = 0x01;
    internal const int MAP_POPULATE = 0x8000;

    private const long NR_io_uring_setup = 425;
    private const long NR_io_uring_enter = 426;
    private const long NR_io_uring_register = 427;

    [LibraryImport(Name, EntryPoint = "syscall", SetLastError = true)]
    private static partial long SetupSyscall(long number, uint entries, IoUringParams* parameters);

    [LibraryImport(Name, EntryPoint = "syscall")]
    private static partial long EnterSyscall(long number, int fd, uint submit, uint completionsMin, uint flags, void* argument, nuint size);

    [LibraryImport(Name, EntryPoint = "syscall", SetLastError = true)]
    private static partial long EnterSyscallKeepingError(
        long number, int fd, uint submit, uint completionsMin, uint flags, void* argument, nuint size);

    [LibraryImport(Name, EntryPoint = "syscall", SetLastError = true)]
    private static partial long RegisterSyscall(long number, int fd, IoUringRegister what, void* argument, uint count);

    [LibraryImport(Name, EntryPoint = "mmap", SetLastError = true)]
    internal static partial void* Map(void* address, nuint length, int protection, int flags, int fd, long offset);

    [LibraryImport(Name, EntryPoint = "munmap", SetLastError = true)]
    internal static partial int Unmap(void* address, nuint length);

    /// <summary>
    /// Binds the calls that a ring makes in the middle of a turn: to bind one when it is first made allocates the library's name.
    /// </summary>
    internal static void BindIoUring()
    {
        const int NoRing = -1;
        // SAFETY: the kernel refuses a descriptor that is none before it looks at anything else.
        _ = IoUringEnter(NoRing, 0, 0, 0, null, 0);
        _ = IoUringEnterKeepingError(NoRing, 0, 0, 0);
    }

    /// <summary>io_uring_setup(2): the descriptor, or -1 and <see cref="LastError"/>.</summary>
    internal static int IoUringSetUp(uint entries, IoUringParams* parameters) => (int)SetupSyscall(NR_io_uring_setup, entries, parameters);

    /// <summary>io_uring_enter(2) without keeping errno: the entries submitted, or -1.</summary>
    internal static int IoUringEnter(int fd, uint submit, uint completionsMin, uint flags, void* argument, nuint size) =>
        (int)EnterSyscall(NR_io_uring_enter, fd, submit, completionsMin, flags, argument, size);

    /// <summary>io_uring_enter(2): the entries submitted, or -1 and <see cref="LastError"/>.</summary>
    internal static int IoUringEnterKeepingError(int fd, uint submit, uint completionsMin, uint flags) =>
        (int)EnterSyscallKeepingError(NR_io_uring_enter, fd, submit, completionsMin, flags, null, 0);

    /// <summary>io_uring_register(2): 0 or a count, or -1 and <see cref="LastError"/>.</summary>
    internal static int IoUringRegister(int fd, IoUringRegister what, void* argument, uint count) =>
        (int)RegisterSyscall(NR_io_uring_register, fd, what, argument, count);
}
