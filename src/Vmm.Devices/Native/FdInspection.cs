using System.Runtime.InteropServices;
using System.Text;
using Vmm.Events;

namespace Vmm.Devices.Native;

/// <summary>
/// Questions to a descriptor that another process sent: what is it, how large, can it be cut short. Each is answered by the kernel about the
/// descriptor itself, so the answer can't be forged; size and flags can change later, kind and seals can't be taken back.
/// </summary>
internal static unsafe partial class FdInspection
{
    private const int F_GETFL = 3;
    private const int O_ACCMODE = 3;
    private const int O_RDWR = 2;
    private const int O_PATH = 0x200000;
    private const uint FileTypeMask = 0xF000;
    private const uint RegularFile = 0x8000;
    private const int LinkBytesMax = 64;

    /// <summary>Whether it is an eventfd: the only thing a write of a counter to which always wakes, and neither blocks for ever nor kills.</summary>
    internal static bool IsEventFd(int fd)
    {
        Span<byte> link = stackalloc byte[LinkBytesMax];
        byte[] path = Encoding.ASCII.GetBytes($"/proc/self/fd/{fd}\0");
        nint length;
        // SAFETY: both buffers are pinned during the call; readlink writes at most link.Length bytes.
        fixed (byte* from = path, to = link)
        {
            length = ReadLink(from, to, (nuint)link.Length);
        }
        return length > 0 && link[..(int)length].SequenceEqual("anon_inode:[eventfd]"u8);
    }

    /// <summary>Whether it is a regular file (memfds are) open for reading and writing.</summary>
    internal static bool IsMappableFile(int fd)
    {
        int flags = MemoryCalls.Fcntl(fd, F_GETFL, 0);
        // A descriptor opened with O_PATH names a file without giving access to it; fstat(2) answers for it all the same.
        if (flags < 0 || (flags & O_PATH) != 0 || (flags & O_ACCMODE) != O_RDWR) return false;
        return MemoryCalls.Stat(fd, out FileStatus status) == Errno.None && (status.Mode & FileTypeMask) == RegularFile;
    }

    /// <summary>Whether nobody can cut it short any more: a mapping of it never faults within its size.</summary>
    internal static bool IsSealedAgainstShrinking(int fd)
    {
        int seals = MemoryCalls.Fcntl(fd, MemoryCalls.F_GET_SEALS, 0);
        return seals >= 0 && (seals & MemoryCalls.F_SEAL_SHRINK) != 0;
    }

    [LibraryImport("libc", EntryPoint = "readlink", SetLastError = true)]
    private static partial nint ReadLink(byte* path, byte* buffer, nuint length);
}
