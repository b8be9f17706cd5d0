using System.Diagnostics;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>Loop devices of the host that have a file behind them (loop(4)). Thread-safe.</summary>
internal static class LoopUsers
{
    /// <summary>
    /// Thousands of disks are opened one right after the other: the loop devices are looked at once for all that come within this time,
    /// which is shorter than it takes to attach one.
    /// </summary>
    private static readonly TimeSpan SeenFor = TimeSpan.FromMilliseconds(5);

    private static Look? _last;

    /// <summary>The loop device that uses a file, as <c>/dev/loop0</c>; null if none does.</summary>
    internal static string? Find(FileIdentity file)
    {
        if (Volatile.Read(ref _last) is not { } look || Stopwatch.GetElapsedTime(look.At) >= SeenFor)
        {
            look = new Look(Stopwatch.GetTimestamp(), [.. Devices().Where(device => FileBehind(device) is not null)]);
            Volatile.Write(ref _last, look);
        }
        return Array.Find(look.InUse, device => FileBehind(device) == file)?.Node;
    }

    private static LoopDevice[] Devices()
    {
        try
        {
            return [.. Directory.GetFileSystemEntries("/sys/block", "loop*").Select(entry => new LoopDevice(
                Node: $"/dev/{Path.GetFileName(entry)}", BackingFile: Path.Combine(entry, "loop/backing_file")))];
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    private static FileIdentity? FileBehind(LoopDevice device)
    {
        // Most loop devices have no file: no exception for them.
        int backing = FileCalls.Open(device.BackingFile, FileCalls.O_PATH | FileCalls.O_CLOEXEC);
        if (backing < 0) return null;
        new OwnedFd(backing).Dispose();
        // The device knows the file's number. To look the path up could wait for a server that is gone: only where the device is not ours
        // to ask.
        int fd = FileCalls.Open(device.Node, FileCalls.O_RDONLY | FileCalls.O_CLOEXEC | FileCalls.O_NONBLOCK);
        if (fd < 0) return ReadPath(device) is { } path ? FileIdentity.Of(path) : null;
        using OwnedFd node = new(fd);
        return FileCalls.AskLoop(fd, out LoopStatus status) ? new FileIdentity(status.Device, status.Inode) : null;
    }

    private static string? ReadPath(LoopDevice device)
    {
        try
        {
            return File.ReadAllText(device.BackingFile).TrimEnd('\n');
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // It was detached meanwhile.
            return null;
        }
    }

    /// <param name="Node">Its device node.</param>
    /// <param name="BackingFile">The attribute that names its file, which is there while it has one.</param>
    private sealed record LoopDevice(string Node, string BackingFile);

    /// <param name="At">When, in ticks of <see cref="Stopwatch"/>.</param>
    /// <param name="InUse">Those that had a file.</param>
    private sealed record Look(long At, LoopDevice[] InUse);
}
