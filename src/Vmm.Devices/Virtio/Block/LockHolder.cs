using System.Globalization;

namespace Vmm.Devices;

/// <summary>A process that has a file open and locked.</summary>
/// <param name="ProcessId">Its number.</param>
/// <param name="Name">Its name, for messages.</param>
internal sealed record LockHolder(int ProcessId, string Name)
{
    private const string InodeKey = "ino:", LockKey = "lock:";

    /// <summary>Looks through the processes that we may look at (proc(5), fdinfo).</summary>
    /// <param name="fd">The file, open here and not locked through this descriptor.</param>
    /// <returns>Null if none shows: it is gone, of another user, or in another namespace.</returns>
    internal static LockHolder? Find(int fd)
    {
        string? inode = Lines($"/proc/self/fdinfo/{fd}").FirstOrDefault(IsInode);
        if (inode is null) return null;
        foreach (string process in Entries("/proc"))
        {
            if (!int.TryParse(Path.GetFileName(process), NumberStyles.None, CultureInfo.InvariantCulture, out int id)) continue;
            foreach (string each in Entries(Path.Combine(process, "fdinfo")))
            {
                string[] lines = Lines(each);
                if (!lines.Any(line => line.StartsWith(LockKey, StringComparison.Ordinal)) || lines.FirstOrDefault(IsInode) != inode)
                    continue;
                return new LockHolder(id, Lines(Path.Combine(process, "comm")).FirstOrDefault("?"));
            }
        }
        return null;
    }

    private static bool IsInode(string line) => line.StartsWith(InodeKey, StringComparison.Ordinal);

    // Processes come and go while they are looked at, and some are not ours to look at.
    private static string[] Entries(string directory)
    {
        try
        {
            return Directory.GetFileSystemEntries(directory);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    private static string[] Lines(string path)
    {
        try
        {
            return File.ReadAllLines(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }
}
