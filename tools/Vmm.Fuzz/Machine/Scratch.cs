namespace Vmm.Fuzz;

/// <summary>
/// Where targets have their files and sockets: below one directory of the process, which goes with it. What a process that was killed left
/// behind the next one removes.
/// </summary>
internal static class Scratch
{
    private const string Prefix = "vmm-fuzz-";

    /// <summary>Held open, and so locked, by the process a directory belongs to.</summary>
    private const string LockName = "lock";

    private static readonly Lazy<(string Path, FileStream Lock)> Mine = new(Make);
    private static long _names;

    /// <summary>A path that nothing is at.</summary>
    internal static string NextPath() => Path.Combine(Mine.Value.Path, $"{Interlocked.Increment(ref _names)}");

    /// <summary>A directory with nothing in it.</summary>
    internal static string NextDirectory() => Directory.CreateDirectory(NextPath()).FullName;

    /// <summary>Removes the directories whose processes are gone.</summary>
    /// <param name="below">Where they are.</param>
    internal static void Sweep(string below)
    {
        foreach (string directory in Directory.EnumerateDirectories(below, $"{Prefix}*"))
        {
            try
            {
                // Refused while its process lives. One without a lock is being made this moment.
                using FileStream left = new(Path.Combine(directory, LockName), FileMode.Open, FileAccess.ReadWrite, FileShare.None);
                Directory.Delete(directory, recursive: true);
            }
            catch (Exception inUse) when (inUse is IOException or UnauthorizedAccessException)
            {
                // In use, or another process removes it too.
            }
        }
    }

    /// <summary>Makes a directory that is in use until its lock is let go.</summary>
    internal static (string Path, FileStream Lock) Make(string below)
    {
        string path = Path.Combine(below, $"{Prefix}{Guid.NewGuid():n}"[..(Prefix.Length + 8)]);
        Directory.CreateDirectory(path);
        return (path, new FileStream(Path.Combine(path, LockName), FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None));
    }

    private static (string Path, FileStream Lock) Make()
    {
        Sweep(Path.GetTempPath());
        (string Path, FileStream Lock) made = Make(Path.GetTempPath());
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(made.Path, recursive: true);
        return made;
    }
}
