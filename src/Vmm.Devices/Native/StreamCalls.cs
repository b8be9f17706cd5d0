namespace Vmm.Devices.Native;

/// <summary>Reads and writes of descriptors that are byte streams: terminals, pipes, sockets, files.</summary>
internal static unsafe partial class StreamCalls
{
    private const string Name = "libc";
    private const int O_RDONLY = 0;
    private const int O_WRONLY = 1;
    private const int O_NOCTTY = 0x100;
    private const int O_NONBLOCK = 0x800;
    private const int O_CLOEXEC = 0x80000;

    /// <summary>Binds the calls that a reactor's thread makes: to bind one when it is first made allocates the library's name.</summary>
    internal static void Bind()
    {
        const int NoFile = -1;
        // SAFETY: the kernel refuses a descriptor that is none before it looks at anything else.
        _ = Read(NoFile, null, 0);
        _ = Write(NoFile, null, 0);
    }

    /// <summary>read(2).</summary>
    /// <returns>What the kernel said; with <see cref="Errno.None"/> and a length of 0 the stream is at its end.</returns>
    internal static Errno Read(int fd, Span<byte> bytes, out int length)
    {
        fixed (byte* start = bytes)
        {
            // SAFETY: the span is pinned for the call, and the kernel writes no more than its length.
            return CallResult.Of(Read(fd, start, (nuint)bytes.Length), out length);
        }
    }

    /// <summary>write(2).</summary>
    internal static Errno Write(int fd, ReadOnlySpan<byte> bytes, out int length)
    {
        fixed (byte* start = bytes)
        {
            // SAFETY: the span is pinned for the call, and the kernel only reads it.
            return CallResult.Of(Write(fd, start, (nuint)bytes.Length), out length);
        }
    }

    /// <summary>Whether a descriptor is a socket, of any kind.</summary>
    internal static bool IsSocket(int fd) => SocketCalls.GetOption(fd, SocketCalls.SO_TYPE, out int _) == Errno.None;

    /// <summary>Writes to a socket without waiting, whatever its mode, and without SIGPIPE.</summary>
    internal static Errno Send(int fd, ReadOnlySpan<byte> bytes, out int length)
    {
        fixed (byte* start = bytes)
        {
            // SAFETY: the span is pinned for the call, and the kernel only reads it and the locals.
            IoVector vector = new((nint)start, (nuint)bytes.Length);
            MessageHeader message = new() { Vectors = &vector, VectorCount = 1 };
            return CallResult.Of(SocketCalls.SendMessage(fd, &message, SocketCalls.MSG_DONTWAIT | SocketCalls.MSG_NOSIGNAL), out length);
        }
    }

    /// <summary>
    /// Opens what a descriptor stands for once more, non-blocking, so that the mode of the first one, which other processes may share,
    /// stays.
    /// </summary>
    /// <returns>Null if it can't be opened by name: sockets, and what this user may not open.</returns>
    internal static OwnedFd? TryReopen(int fd, bool forWriting) => CallResult.Descriptor(
        Open($"/proc/self/fd/{fd}", (forWriting ? O_WRONLY : O_RDONLY) | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));

    [LibraryImport(Name, EntryPoint = "read", SetLastError = true)]
    private static partial nint Read(int fd, byte* bytes, nuint length);

    [LibraryImport(Name, EntryPoint = "write", SetLastError = true)]
    private static partial nint Write(int fd, byte* bytes, nuint length);

    [LibraryImport(Name, EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);
}
