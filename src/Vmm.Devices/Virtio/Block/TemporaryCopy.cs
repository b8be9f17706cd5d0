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

    /// <summary>Makes a copy, in the image's folder or, where that takes no files, in the one for temporary files.</summary>
    /// <param name="path">For messages, and to find the folder.</param>
    /// <param name="image">The image, which nothing writes meanwhile.</param>
    /// <param name="bytes">Its size.</param>
    /// <exception cref="DiskImageException">There is no room, or no folder for it.</exception>
    internal static TemporaryCopy Of(string path, OwnedFd image, long bytes)
    {
        OwnedFd file = CreateNear(path);
        try
        {
            return new TemporaryCopy(file, Fill(file, image.Number, bytes));
        }
        catch (IOException failure)
        {
            file.Dispose();
            throw new DiskImageException($"disk image '{path}' cannot be copied for temporary use: {failure.Message}");
        }
    }

    /// <summary>Makes an image as a copy of another one, unless it is there; it has the same time of its last write.</summary>
    /// <param name="path">
    /// Where. It appears whole or not at all, also over a power cut: the next start takes what is there as it is.
    /// </param>
    /// <param name="image">The other one, which nothing writes meanwhile.</param>
    /// <param name="status">How it is.</param>
    /// <returns>What was copied; 0 where blocks are shared.</returns>
    /// <exception cref="IOException">There is no room, or its folder takes no files.</exception>
    internal static long Keep(string path, OwnedFd image, in FileStatus status)
    {
        string folder = System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(path)) ?? "/";
        int fd = Create(folder);
        if (fd < 0) throw new KernelException($"cannot make '{path}'", CallResult.LastError, "its folder has to take files without a name");
        using OwnedFd file = new(fd);
        long copied = Fill(file, image.Number, status.Size);
        Errno error = SnapshotCalls.SetModified(file, status.ModifiedNanoseconds);
        // A name reaches the journal of a file system before the bytes do, unless these are asked for first.
        if (error == Errno.None) error = SnapshotCalls.Sync(file);
        if (error == Errno.None) error = SnapshotCalls.Name(file, path);
        // What a guest writes and flushes is as durable as the name it is found by.
        if (error == Errno.None) error = SyncNames(folder);
        return error is Errno.None or Errno.Exists ? copied : throw new KernelException($"cannot make '{path}'", error);
    }

    /// <summary>Fills an empty file with another one's bytes.</summary>
    /// <param name="file">The empty one.</param>
    /// <param name="image">The other one, open for reading through the page cache.</param>
    /// <param name="bytes">Its size.</param>
    /// <returns>What was copied; 0 where blocks are shared.</returns>
    /// <exception cref="IOException">There is no room.</exception>
    internal static long Fill(OwnedFd file, int image, long bytes)
    {
        try
        {
            return FileCalls.Share(file.Number, image) == Errno.None ? 0 : Copy(image, file, bytes);
        }
        catch (ArgumentOutOfRangeException failure)
        {
            // Beyond the file system's longest file it is an argument that is out of range.
            throw new IOException(failure.Message, failure);
        }
    }

    /// <summary>Makes a file without a name, for its owner.</summary>
    private static int Create(string folder) =>
        FileCalls.Open(folder, FileCalls.O_TMPFILE | FileCalls.O_RDWR | FileCalls.O_CLOEXEC, 0x180);

    /// <summary>Makes the names in a folder durable; one that may be written and not read has its file system's order only.</summary>
    private static Errno SyncNames(string folder)
    {
        int fd = FileCalls.Open(folder, FileCalls.O_RDONLY | FileCalls.O_CLOEXEC);
        if (fd < 0) return Errno.None;
        using OwnedFd directory = new(fd);
        return SnapshotCalls.Sync(directory);
    }

    private static OwnedFd CreateNear(string path)
    {
        string temporary = System.IO.Path.GetTempPath();
        foreach (string folder in (string[])[System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(path)) ?? temporary, temporary])
        {
            int fd = Create(folder);
            if (fd >= 0) return new OwnedFd(fd);
        }
        throw new DiskImageException($"disk image '{path}' cannot be copied for temporary use: neither its folder nor '{temporary}' takes "
            + $"a file without a name: {KernelException.Describe(CallResult.LastError)}: name another folder by TMPDIR");
    }

    private static long Copy(int image, OwnedFd copy, long bytes)
    {
        using SafeFileHandle from = new(image, ownsHandle: false), to = new(copy.Number, ownsHandle: false);
        RandomAccess.SetLength(to, bytes);
        byte[] piece = new byte[PieceBytes];
        long copied = 0;
        for (long at = 0; at < bytes;)
        {
            long data = FileCalls.Seek(image, at, FileCalls.SEEK_DATA);
            if (data < 0)
            {
                // Only a hole is left. Anything else would leave out data; a file system that knows no holes says that all is data.
                if (CallResult.LastError == Errno.NoDeviceOrAddress) break;
                throw new KernelException("cannot find its data", CallResult.LastError);
            }
            long hole = FileCalls.Seek(image, data, FileCalls.SEEK_HOLE);
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
