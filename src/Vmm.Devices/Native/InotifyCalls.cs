using System.Buffers.Binary;

namespace Vmm.Devices.Native;

/// <summary>The system calls that report changes of files: inotify(7).</summary>
internal static partial class InotifyCalls
{
    private const string Name = "libc";
    private const int IN_CLOEXEC = 0x80000;
    private const uint IN_MODIFY = 0x2;
    private const uint IN_ONESHOT = 0x80000000;
    private const int HeaderBytes = 16;
    private const int LengthOffset = 12;

    [LibraryImport(Name, EntryPoint = "inotify_init1", SetLastError = true)]
    private static partial int Create(int flags);

    [LibraryImport(Name, EntryPoint = "inotify_add_watch", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int AddWatch(int fd, string path, uint mask);

    [LibraryImport(Name, EntryPoint = "inotify_rm_watch", SetLastError = true)]
    private static partial int RemoveWatch(int fd, int watch);

    /// <summary>A queue of events.</summary>
    /// <returns>Null if the host has no descriptor, or this user has too many queues.</returns>
    internal static OwnedFd? TryCreate() => Create(IN_CLOEXEC) is >= 0 and var fd ? new OwnedFd(fd) : null;

    /// <summary>Asks for one event, when an open file is written or cut next.</summary>
    /// <returns>The number of the watch, the same for all descriptors of one file; negative if there is none.</returns>
    internal static int WatchOnce(OwnedFd queue, OwnedFd file) =>
        AddWatch(queue.Number, $"/proc/self/fd/{file.Number}", IN_MODIFY | IN_ONESHOT);

    /// <summary>Takes the question back. Harmless if the event has come.</summary>
    internal static void Forget(OwnedFd queue, int watch) => _ = RemoveWatch(queue.Number, watch);

    /// <summary>Waits for events, and gives the watch of each, some of which may be over.</summary>
    internal static void Wait(OwnedFd queue, Span<byte> buffer, List<int> watches)
    {
        watches.Clear();
        if (StreamCalls.Read(queue.Number, buffer, out int length) != Errno.None) return;
        // struct inotify_event: watch, mask, cookie, length of the name that follows.
        for (ReadOnlySpan<byte> rest = buffer[..length]; rest.Length >= HeaderBytes;)
        {
            watches.Add(BinaryPrimitives.ReadInt32LittleEndian(rest));
            rest = rest[(HeaderBytes + BinaryPrimitives.ReadInt32LittleEndian(rest[LengthOffset..]))..];
        }
    }
}
