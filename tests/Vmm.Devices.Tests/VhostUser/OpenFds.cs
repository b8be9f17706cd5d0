using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>
/// How many descriptors of one kernel object this process has open, for tests that nothing leaks. Other tests open and close theirs meanwhile, so
/// a count of all of them would say nothing.
/// </summary>
internal static class OpenFds
{
    private const string EventFdIdKey = "eventfd-id:";

    /// <summary>Descriptors of the same counter, this one included.</summary>
    internal static int Of(EventFd fd)
    {
        string? wanted = IdOf(fd.Number.ToString());
        Assert.NotNull(wanted);
        return Directory.GetFileSystemEntries("/proc/self/fdinfo").Count(path => IdOf(Path.GetFileName(path)) == wanted);
    }

    /// <summary>Descriptors of the same memory, this one included.</summary>
    internal static int OfMemory(OwnedFd memory)
    {
        string wanted = $"ino:\t{MemoryFile.Of(memory.Number).Inode}";
        return Directory.GetFileSystemEntries("/proc/self/fdinfo").Count(path => Has(path, line => line == wanted));
    }

    /// <summary>Descriptors of files with a name in their path.</summary>
    internal static int Named(string name) =>
        Directory.GetFileSystemEntries("/proc/self/fd").Count(path => (new FileInfo(path).LinkTarget ?? "").Contains(name, StringComparison.Ordinal));

    /// <summary>
    /// What every descriptor of the process is, in order; sockets and pipes without their numbers. Without assemblies: the runtime opens each when it comes to
    /// need it, and keeps it.
    /// </summary>
    internal static string[] Kinds() =>
    [
        .. Directory.GetFileSystemEntries("/proc/self/fd").Select(KindOf).OfType<string>()
            .Where(kind => !kind.EndsWith(".dll", StringComparison.Ordinal)).Order(StringComparer.Ordinal),
    ];

    private static string? KindOf(string path)
    {
        string? target = new FileInfo(path).LinkTarget;
        int number = target?.IndexOf(":[", StringComparison.Ordinal) ?? -1;
        return number > 0 && char.IsAsciiDigit(target![number + 2]) ? target[..number] : target;
    }

    private static bool Has(string path, Func<string, bool> line)
    {
        try
        {
            return File.ReadLines(path).Any(line);
        }
        catch (IOException)
        {
            // Closed by another test since it was listed.
            return false;
        }
    }

    private static string? IdOf(string fd)
    {
        try
        {
            return File.ReadLines($"/proc/self/fdinfo/{fd}").FirstOrDefault(line => line.StartsWith(EventFdIdKey, StringComparison.Ordinal));
        }
        catch (IOException)
        {
            // Closed by another test since it was listed.
            return null;
        }
    }
}
