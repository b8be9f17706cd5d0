using System.Runtime.InteropServices;
using Vmm.Events;

namespace Vmm.Devices.Native;

/// <summary>
/// Transfers between descriptors that never block and vectors that their holder keeps mapped: readv(2), writev(2), sendmsg(2), recvmsg(2).
/// </summary>
internal static unsafe partial class VectorCalls
{
    private const string Name = "libc";

    /// <summary>Binds the calls that a reactor's thread makes: to bind one when it is first made allocates the library's name.</summary>
    internal static void Bind()
    {
        const int NoFile = -1;
        // SAFETY: the kernel refuses a descriptor that is none before it looks at anything else.
        _ = Read(NoFile, null, 0);
        _ = Write(NoFile, null, 0);
        _ = SocketCalls.ReceiveMessage(NoFile, null, 0);
        _ = SocketCalls.SendMessage(NoFile, null, 0);
    }

    /// <summary>readv(2).</summary>
    internal static Errno Read(int fd, ReadOnlySpan<IoVector> vectors, out int length)
    {
        // SAFETY: the kernel reads the pinned vectors, and writes what they point at: memory that their holder keeps mapped.
        fixed (IoVector* first = vectors) return StreamCalls.Finish(Read(fd, first, vectors.Length), out length);
    }

    /// <summary>writev(2).</summary>
    internal static Errno Write(int fd, ReadOnlySpan<IoVector> vectors, out int length)
    {
        // SAFETY: as for Read; the kernel only reads the memory.
        fixed (IoVector* first = vectors) return StreamCalls.Finish(Write(fd, first, vectors.Length), out length);
    }

    /// <summary>Receives one datagram, or bytes of a stream, without waiting.</summary>
    internal static Errno Receive(int fd, ReadOnlySpan<IoVector> vectors, out int length)
    {
        // SAFETY: as for Read.
        fixed (IoVector* first = vectors)
        {
            MessageHeader message = new() { Vectors = first, VectorCount = (nuint)vectors.Length };
            return StreamCalls.Finish(SocketCalls.ReceiveMessage(fd, &message, SocketCalls.MSG_DONTWAIT), out length);
        }
    }

    /// <summary>Sends one datagram, or bytes of a stream, without waiting and without SIGPIPE.</summary>
    internal static Errno Send(int fd, ReadOnlySpan<IoVector> vectors, out int length)
    {
        // SAFETY: as for Write.
        fixed (IoVector* first = vectors)
        {
            MessageHeader message = new() { Vectors = first, VectorCount = (nuint)vectors.Length };
            const int flags = SocketCalls.MSG_DONTWAIT | SocketCalls.MSG_NOSIGNAL;
            return StreamCalls.Finish(SocketCalls.SendMessage(fd, &message, flags), out length);
        }
    }

    [LibraryImport(Name, EntryPoint = "readv", SetLastError = true)]
    private static partial nint Read(int fd, IoVector* vectors, int count);

    [LibraryImport(Name, EntryPoint = "writev", SetLastError = true)]
    private static partial nint Write(int fd, IoVector* vectors, int count);
}
