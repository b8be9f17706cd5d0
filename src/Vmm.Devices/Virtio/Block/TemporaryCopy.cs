using Microsoft.Win32.SafeHandles;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A copy of an image without a name: it is gone when it is closed, be it by the end of the process. Where the file system can, it shares
/// the blocks of the image until they are written (ioctl_ficlone(2)); elsewhere the image's data is copied, and its holes are not.
/// </summary>
/// <param name="File">The copy.</param>
/// <param name="CopiedBytes">What was copied; 0 where blocks are shared.</param>
internal readonly record struct TemporaryCopy(OwnedFd File, long CopiedBytes)
{
    private const int PieceBytes = 1 << 20;

    /// <summary>ENXIO of lseek(2), SEEK_DATA.</summary>
    private const Errno NothingBehind = (Errno)6;

    /// <summary>Makes a copy, in the image's folder or, where that takes no files, in the one for temporary files.</summary>
    /// <param name="path">For messages, and to find the folder.</param>
    /// <param name="image">The image, which nothing writes meanwhile.</param>
    /// <param name="bytes">Its size.</param>
    /// <exception cref="DiskImageException">There is no room, or no folder for it.</exception>
    internal static TemporaryCopy Of(string path, OwnedFd image, long bytes)
    {
        OwnedFd file = Create(path);
        try
        {
            return FileCalls.Share(file.Number, image.Number) == Errno.None
                ? new TemporaryCopy(file, 0) : new TemporaryCopy(file, Copy(image, file, bytes));
        }
        // Beyond the file system's longest file it is an argument that is out of range.
        catch (Exception failure) when (failure is IOException or ArgumentOutOfRangeException)
        {
            file.Dispose();
            throw new DiskImageException($"disk image '{path}' cannot be copied for temporary use: {failure.Message}");
        }
    }

    private static OwnedFd Create(string path)
    {
        string temporary = System.IO.Path.GetTempPath();
        foreach (string folder in (string[])[System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(path)) ?? temporary, temporary])
        {
            const uint OwnersOnly = 0x180;
            int fd = FileCalls.Open(folder, FileCalls.O_TMPFILE | FileCalls.O_RDWR | FileCalls.O_CLOEXEC, OwnersOnly);
            if (fd >= 0) return new OwnedFd(fd);
        }
        throw new DiskImageException($"disk image '{path}' cannot be copied for temporary use: neither its folder nor '{temporary}' takes "
            + $"a file without a name: {KernelException.Describe(FileCalls.LastError)}: name another folder by TMPDIR");
    }

    private static long Copy(OwnedFd image, OwnedFd copy, long bytes)
    {
        using SafeFileHandle from = new(image.Number, ownsHandle: false), to = new(copy.Number, ownsHandle: false);
        RandomAccess.SetLength(to, bytes);
        byte[] piece = new byte[PieceBytes];
        long copied = 0;
        for (long at = 0; at < bytes;)
        {
            long data = FileCalls.Seek(image.Number, at, FileCalls.SEEK_DATA);
            if (data < 0)
            {
                // Only a hole is left. Anything else would leave out data; a file system that knows no holes says that all is data.
                if (FileCalls.LastError == NothingBehind) break;
                throw new KernelException("cannot find its data", FileCalls.LastError);
            }
            long hole = FileCalls.Seek(image.Number, data, FileCalls.SEEK_HOLE);
            long end = hole < 0 ? bytes : Math.Min(hole, bytes);
            for (at = data; at < end;)
            {
                int read = RandomAccess.Read(from, piece.AsSpan(0, (int)Math.Min(PieceBytes, end - at)), at);
                if (read == 0) return copied;
                RandomAccess.Write(to, piece.AsSpan(0, read), at);
                at += read;
                copied += read;
            }
        }
        return copied;
    }
}
