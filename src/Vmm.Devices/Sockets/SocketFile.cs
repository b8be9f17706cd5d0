namespace Vmm.Devices;

/// <summary>
/// A socket's place in the file system: its path, and the file that was there when it was bound. Another process may replace the file at
/// the path at any time; only the file that was bound is ever removed.
/// </summary>
internal readonly record struct SocketFile(string Path, ulong Device, ulong Inode)
{
    /// <summary>The socket at a path; null if there is none, or if something else is there (a symbolic link included).</summary>
    internal static SocketFile? At(string path) =>
        MemoryCalls.StatPath(path, out FileStatus status) == Errno.None && status.IsSocket
            ? new SocketFile(path, status.Device, status.Inode) : null;

    /// <summary>Removes the path if it still names this socket; leaves it alone otherwise. Never throws.</summary>
    internal void Remove()
    {
        if (At(Path) != this) return;
        try
        {
            File.Delete(Path);
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
        {
            // The directory became read-only or is gone. A socket that remains is replaced by the next process that listens there.
        }
    }
}
