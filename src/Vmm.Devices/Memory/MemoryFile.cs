namespace Vmm.Devices;

/// <summary>
/// What a file is that another process offers as memory. The kernel answers about the descriptor itself, so the answer cannot be forged;
/// kind and seals cannot be taken back, the size of an unsealed file can change later.
/// </summary>
/// <param name="Device">The file system it is on. With <paramref name="Inode"/> it names the file.</param>
/// <param name="Inode">Its number there.</param>
/// <param name="IsSealed">It cannot be shortened any more (F_SEAL_SHRINK, fcntl(2)). Only a memfd can be sealed, so a hole of it is filled
/// without a limit of a mount.</param>
/// <param name="IsHuge">It consists of huge pages (hugetlbfs), of which the host may have none left.</param>
internal readonly record struct MemoryFile(ulong Device, ulong Inode, bool IsSealed, bool IsHuge)
{
    private const int F_GETFL = 3;
    private const int O_ACCMODE = 3;
    private const int O_RDWR = 2;
    private const int O_PATH = 0x200000;

    /// <summary>Where huge pages lie (linux/magic.h).</summary>
    private const long HugetlbfsMagic = 0x958458f6;

    /// <summary>What a descriptor is, whatever it is. A descriptor that is not open has no seals and no file system.</summary>
    internal static MemoryFile Of(int fd)
    {
        _ = MemoryCalls.Stat(fd, out FileStatus status);
        _ = MemoryCalls.StatFileSystem(fd, out FileSystemStatus fileSystem);
        int seals = MemoryCalls.Fcntl(fd, MemoryCalls.F_GET_SEALS, 0);
        bool isSealed = seals >= 0 && (seals & MemoryCalls.F_SEAL_SHRINK) != 0;
        return new MemoryFile(status.Device, status.Inode, isSealed, fileSystem.Type == HugetlbfsMagic);
    }

    /// <summary>Why a descriptor that another process sent may not be mapped, in a sentence; null if it may.</summary>
    internal static string? WhyNot(int fd)
    {
        int flags = MemoryCalls.Fcntl(fd, F_GETFL, 0);
        // A descriptor opened with O_PATH names a file without giving access to it; fstat(2) answers for it all the same.
        if (flags < 0 || (flags & O_PATH) != 0 || (flags & O_ACCMODE) != O_RDWR)
            return "memory that is not open for reading and writing";
        // Only regular files of tmpfs and hugetlbfs have seals. A page fault on any other file waits for whatever provides it: a FUSE
        // daemon, a server on the network, a disk. It may wait for ever, and so may a question to the file system, such as fstat(2).
        return MemoryCalls.Fcntl(fd, MemoryCalls.F_GET_SEALS, 0) >= 0
            ? null : "memory in a file that is neither a memfd nor on tmpfs nor on hugetlbfs: a page fault on it could wait for ever";
    }
}
