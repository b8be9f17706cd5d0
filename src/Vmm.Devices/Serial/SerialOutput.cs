using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>The outputs a serial port can have.</summary>
public static class SerialOutput
{
    /// <summary>A terminal, pipe, socket or file.</summary>
    /// <param name="fd">
    /// The descriptor; it is taken over. Terminals and pipes are opened anew, so that its own mode, which other processes may share, stays.
    /// A socket may be blocking: it is written without waiting.
    /// </param>
    public static ISerialOutput To(OwnedFd fd)
    {
        ArgumentNullException.ThrowIfNull(fd);
        return new FdOutput(fd);
    }

    /// <summary>The end of a file, which is made if it is not there yet; then only this user may read it.</summary>
    /// <exception cref="KernelException">It can't be opened for writing.</exception>
    public static ISerialOutput AppendTo(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        int fd = FileCalls.Open(path,
            FileCalls.O_WRONLY | FileCalls.O_CREAT | FileCalls.O_APPEND | FileCalls.O_CLOEXEC | FileCalls.O_NONBLOCK, OwnerOnly);
        return fd >= 0 ? new FdOutput(new OwnedFd(fd))
            : throw new KernelException($"cannot open '{path}' for the guest's output", CallResult.LastError);
    }

    /// <summary>
    /// A socket of datagrams that another program has, such as a logger: each write is one datagram, which goes out whole. It starts no
    /// thread.
    /// </summary>
    /// <param name="path">Where that program's socket is.</param>
    /// <returns>Null if nothing can be connected to there.</returns>
    /// <exception cref="KernelException">The path has more than 107 bytes.</exception>
    public static ISerialOutput? TryConnect(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        return UnixEndpoint.TryConnect(path, SocketCalls.SOCK_DGRAM, out _) is { } socket ? new FdOutput(socket) : null;
    }

    /// <summary>A stream whose writes do not wait, such as a <see cref="MemoryStream"/>. It stays the caller's.</summary>
    public static ISerialOutput To(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        return new StreamOutput(stream);
    }

    /// <summary>Waits until an output has room, or its reader is gone: for a thread that may wait, which a reactor's may not.</summary>
    /// <param name="output">The output.</param>
    /// <param name="patience">How long to wait; <see cref="Timeout.InfiniteTimeSpan"/> for ever.</param>
    /// <returns>False if the time was up.</returns>
    public static bool WaitForRoom(ISerialOutput output, TimeSpan patience)
    {
        ArgumentNullException.ThrowIfNull(output);
        return output.Ready is null || StreamSocket.WaitWritable(output.Ready.Number, patience);
    }

    /// <summary>Read and write for the owner alone.</summary>
    private const uint OwnerOnly = 0x180;

    private sealed class FdOutput : ISerialOutput
    {
        /// <summary>A pipe that is ready to be written takes this much without waiting (pipe(7), PIPE_BUF).</summary>
        private const int BytesWithoutWaitMax = 4096;

        private readonly OwnedFd _fd;
        private readonly bool _isSocket;
        /// <summary>A terminal or pipe of another user, in a mode that is not ours to change.</summary>
        private readonly bool _mayBlock;

        internal FdOutput(OwnedFd fd)
        {
            _isSocket = StreamCalls.IsSocket(fd.Number);
            // A file that is opened anew would be written from its start.
            bool isFile = IsFile(fd);
            OwnedFd? fresh = isFile || _isSocket ? null : StreamCalls.TryReopen(fd.Number, forWriting: true);
            if (fresh is not null) fd.Dispose();
            _fd = fresh ?? fd;
            _mayBlock = !isFile && !_isSocket && fresh is null;
        }

        public OwnedFd? Ready => _fd;

        public Errno Write(ReadOnlySpan<byte> bytes, out int written)
        {
            written = 0;
            if (_isSocket) return StreamCalls.Send(_fd.Number, bytes, out written);
            if (!_mayBlock) return StreamCalls.Write(_fd.Number, bytes, out written);
            if (!StreamSocket.WaitWritable(_fd.Number, TimeSpan.Zero)) return Errno.Again;
            return StreamCalls.Write(_fd.Number, bytes[..Math.Min(bytes.Length, BytesWithoutWaitMax)], out written);
        }

        public void Dispose() => _fd.Dispose();

        private static bool IsFile(OwnedFd fd) => MemoryCalls.Stat(fd.Number, out FileStatus status) == Errno.None && status.IsRegular;
    }

    private sealed class StreamOutput(Stream stream) : ISerialOutput
    {
        public OwnedFd? Ready => null;

        public Errno Write(ReadOnlySpan<byte> bytes, out int written)
        {
            written = bytes.Length;
            try
            {
                stream.Write(bytes);
                return Errno.None;
            }
            catch (IOException)
            {
                return Errno.InputOutput;
            }
        }

        public void Dispose()
        {
        }
    }
}
