using System.Runtime.InteropServices;
using System.Text;

namespace Vmm.Devices.Native;

/// <summary>
/// Questions to a descriptor that another process sent: what is it, how large, can it be cut short. Each is answered by the kernel about the
/// descriptor itself, so the answer can't be forged; size and flags can change later, kind and seals can't be taken back.
/// </summary>
internal static unsafe partial class FdInspection
{
    private const int F_GETFL = 3;
    private const int F_GET_SEALS = 1034;
    private const int O_ACCMODE = 3;
    private const int O_RDWR = 2;
    private const int O_PATH = 0x200000;
    private const int F_SEAL_SHRINK = 2;
    private const uint S_IFMT = 0xF000;
    private const uint S_IFREG = 0x8000;
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

    /// <summary>Whether it is a regular file (memfds are) open for reading and writing, and how large that is.</summary>
    internal static bool IsMappableFile(int fd, out ulong bytes)
    {
        bytes = 0;
        int flags = Fcntl(fd, F_GETFL, 0);
        // A descriptor opened with O_PATH names a file without giving access to it; fstat(2) answers for it all the same.
        if (flags < 0 || (flags & O_PATH) != 0 || (flags & O_ACCMODE) != O_RDWR) return false;
        FdStatus status;
        // SAFETY: fstat writes one struct stat into a local.
        if (FStat(fd, &status) < 0 || (status.Mode & S_IFMT) != S_IFREG) return false;
        bytes = (ulong)status.Size;
        return true;
    }

    /// <summary>Whether nobody can cut it short any more: a mapping of it never faults within its size.</summary>
    internal static bool IsSealedAgainstShrinking(int fd)
    {
        int seals = Fcntl(fd, F_GET_SEALS, 0);
        return seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
    }

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int Fcntl(int fd, int command, int argument);

    [LibraryImport("libc", EntryPoint = "fstat", SetLastError = true)]
    private static partial int FStat(int fd, FdStatus* status);

    [LibraryImport("libc", EntryPoint = "readlink", SetLastError = true)]
    private static partial nint ReadLink(byte* path, byte* buffer, nuint length);
}

/// <summary>struct stat of x86-64 (stat(2)), as far as it is looked at.</summary>
[StructLayout(LayoutKind.Explicit, Size = 144)]
internal struct FdStatus
{
    [FieldOffset(24)] internal uint Mode;
    [FieldOffset(48)] internal long Size;
}
