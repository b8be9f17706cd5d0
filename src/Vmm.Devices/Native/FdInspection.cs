using System.Text;

namespace Vmm.Devices.Native;

/// <summary>What a descriptor is that another process sent, as the kernel says of the descriptor itself: that cannot be forged.</summary>
internal static unsafe partial class FdInspection
{
    private const int LinkBytesMax = 64;

    /// <summary>
    /// Whether it is an eventfd: the only thing a write of a counter to which always wakes, and neither blocks for ever nor kills.
    /// </summary>
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

    [LibraryImport("libc", EntryPoint = "readlink", SetLastError = true)]
    private static partial nint ReadLink(byte* path, byte* buffer, nuint length);
}
