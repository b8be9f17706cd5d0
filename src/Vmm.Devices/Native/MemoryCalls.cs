namespace Vmm.Devices.Native;

/// <summary>
/// The system calls behind guest memory: memfd_create(2), mmap(2), mprotect(2), madvise(2), fcntl(2) seals, fstat(2), fstatfs(2).
/// </summary>
internal static partial class MemoryCalls
{
    private const string Name = "libc";

    internal const uint MFD_CLOEXEC = 1;
    internal const uint MFD_ALLOW_SEALING = 2;
    internal const uint MFD_HUGETLB = 4;
    internal const uint MFD_HUGE_2MB = 21U << 26;
    internal const uint MFD_HUGE_1GB = 30U << 26;
    internal const int PROT_READ = 1;
    internal const int PROT_WRITE = 2;
    internal const int MAP_SHARED = 1;
    internal const int MAP_PRIVATE = 2;
    internal const int MAP_FIXED = 0x10;
    internal const int MAP_ANONYMOUS = 0x20;
    internal const int MAP_NORESERVE = 0x4000;
    internal const int F_ADD_SEALS = 1033;
    internal const int F_GET_SEALS = 1034;
    internal const int F_SEAL_SHRINK = 2;
    internal const int F_SEAL_GROW = 4;
    internal const int MADV_DONTNEED = 4;
    internal const int MADV_REMOVE = 9;
    internal const int MADV_POPULATE_WRITE = 23;
    internal const int MADV_DONTDUMP = 16;
    internal static readonly nint MapFailed = -1;

    [LibraryImport(Name, EntryPoint = "memfd_create", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int MemfdCreate(string name, uint flags);

    [LibraryImport(Name, EntryPoint = "ftruncate", SetLastError = true)]
    internal static partial int Truncate(int fd, long length);

    [LibraryImport(Name, EntryPoint = "fcntl", SetLastError = true)]
    internal static partial int Fcntl(int fd, int command, int argument);

    [LibraryImport(Name, EntryPoint = "mmap", SetLastError = true)]
    internal static partial nint Map(nint address, nuint length, int protection, int flags, int fd, long offset);

    [LibraryImport(Name, EntryPoint = "munmap", SetLastError = true)]
    internal static partial int Unmap(nint address, nuint length);

    [LibraryImport(Name, EntryPoint = "mprotect", SetLastError = true)]
    internal static partial int Protect(nint address, nuint length, int protection);

    [LibraryImport(Name, EntryPoint = "madvise", SetLastError = true)]
    internal static partial int Advise(nint address, nuint length, int advice);

    [LibraryImport(Name, EntryPoint = "fstat", SetLastError = true)]
    private static partial int StatOpen(int fd, out FileStatus status);

    [LibraryImport(Name, EntryPoint = "lstat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int StatLink(string path, out FileStatus status);

    [LibraryImport(Name, EntryPoint = "fstatfs", SetLastError = true)]
    private static partial int StatSystem(int fd, out FileSystemStatus status);

    // The structures have the sizes of the kernel's: the ABI test compares them.

    /// <summary>fstat(2) of an open descriptor.</summary>
    internal static Errno Stat(int fd, out FileStatus status) => CallResult.Of(StatOpen(fd, out status));

    /// <summary>lstat(2) of a path: of a symbolic link itself.</summary>
    internal static Errno StatPath(string path, out FileStatus status) => CallResult.Of(StatLink(path, out status));

    /// <summary>fstatfs(2) of the file system an open file is on.</summary>
    internal static Errno StatFileSystem(int fd, out FileSystemStatus status) => CallResult.Of(StatSystem(fd, out status));
}

/// <summary>struct stat of x86-64 (stat(2)); only the fields used here are named.</summary>
[StructLayout(LayoutKind.Explicit, Size = 144)]
internal struct FileStatus
{
    [FieldOffset(0)] internal ulong Device;
    [FieldOffset(8)] internal ulong Inode;
    [FieldOffset(24)] internal uint Mode;
    /// <summary>Which device a device node stands for.</summary>
    [FieldOffset(40)] internal ulong DeviceNumber;
    [FieldOffset(48)] internal long Size;
    [FieldOffset(56)] internal long BlockSize;
    /// <summary>In units of 512 bytes, whatever the file system's own.</summary>
    [FieldOffset(64)] internal long Blocks;
    [FieldOffset(88)] internal long ModifiedSeconds;
    [FieldOffset(96)] internal long ModifiedFraction;

    /// <summary>Since 1970; 0 for what was before.</summary>
    internal readonly long ModifiedNanoseconds =>
        ModifiedSeconds is < 0 or > uint.MaxValue ? 0 : ModifiedSeconds * 1_000_000_000 + ModifiedFraction;

    internal readonly bool IsDirectory => (Mode & TypeMask) == 0x4000;
    internal readonly bool IsRegular => (Mode & TypeMask) == 0x8000;
    internal readonly bool IsBlockDevice => (Mode & TypeMask) == 0x6000;
    internal readonly bool IsSocket => (Mode & TypeMask) == 0xc000;

    private const uint TypeMask = 0xf000; // S_IFMT of inode(7)
}

/// <summary>struct statfs of x86-64 (statfs(2)); only the field used here is named.</summary>
[StructLayout(LayoutKind.Explicit, Size = 120)]
internal struct FileSystemStatus
{
    [FieldOffset(0)] internal long Type;
}
