using System.Globalization;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>What a process was given at its start: descriptors, and how many it may have. For a program that wants to complain in
/// time.</summary>
internal static class ProcessDescriptors
{
    /// <summary>Most descriptors that this process may have open (getrlimit(2), RLIMIT_NOFILE).</summary>
    internal static ulong Limit => LimitCalls.Descriptors();

    /// <summary>
    /// Whether this process was given a descriptor at its start, and has not another one under that number because it was closed: what is
    /// inherited is not closed on exec.
    /// </summary>
    /// <param name="fd">The descriptor.</param>
    internal static bool IsInherited(int fd) => SandboxCalls.IsInherited(fd);

    /// <summary>Whether programs that this process executes get a descriptor.</summary>
    /// <param name="fd">The descriptor.</param>
    /// <param name="inherited">False for one that is closed on exec.</param>
    internal static void SetInherited(int fd, bool inherited) => _ = SandboxCalls.SetInherited(fd, inherited);

    /// <summary>Closes what this process was given at its start, beside its standard streams.</summary>
    internal static void CloseInherited() => CloseInherited(passed: 0, kept: []);

    /// <summary>Closes what this process was given at its start, beside its standard streams.</summary>
    /// <param name="passed">How many descriptors behind these stay: a service manager's.</param>
    /// <param name="kept">Others that stay.</param>
    internal static void CloseInherited(int passed, IReadOnlyList<int> kept)
    {
        const int standardStreams = 3;
        // Links to directories too.
        foreach (string path in Directory.GetFileSystemEntries("/proc/self/fd"))
        {
            int fd = int.Parse(Path.GetFileName(path.AsSpan()), CultureInfo.InvariantCulture);
            if (fd >= standardStreams + passed && !kept.Contains(fd) && IsInherited(fd)) new OwnedFd(fd).Dispose();
        }
    }

    /// <summary>
    /// Whether a descriptor is the stream by which systemd takes what a service prints into its journal (systemd.exec(5),
    /// JOURNAL_STREAM). There a line may begin with its priority, as <c>&lt;4&gt;</c> (sd-daemon(3)).
    /// </summary>
    /// <param name="fd">1 or 2.</param>
    internal static bool IsJournal(int fd) =>
        Environment.GetEnvironmentVariable("JOURNAL_STREAM") is { } stream
        && MemoryCalls.Stat(fd, out FileStatus status) == Errno.None
        && stream == string.Create(CultureInfo.InvariantCulture, $"{status.Device}:{status.Inode}");

    /// <summary>
    /// Has the kernel make room for descriptors at once. Otherwise it doubles their table whenever that is full, and each time waits some
    /// milliseconds for the threads of this process to leave the old one.
    /// </summary>
    /// <param name="count">How many there are going to be; more than <see cref="Limit"/> is the same as that.</param>
    internal static void MakeRoom(int count)
    {
        const int DuplicateCloseOnExec = 1030;
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        using EventFd some = new();
        int last = (int)Math.Min((ulong)count, Limit - 1);
        int copy = MemoryCalls.Fcntl(some.Number, DuplicateCloseOnExec, last);
        if (copy >= 0) new OwnedFd(copy).Dispose();
    }
}
