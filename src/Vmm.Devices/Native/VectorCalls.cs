namespace Vmm.Devices.Native;

/// <summary>
/// Transfers between descriptors that never block and vectors that their holder keeps mapped: readv(2), writev(2), sendmsg(2), recvmsg(2).
/// </summary>
internal static unsafe partial class VectorCalls
{
    private const string Name = "libc";
    private const long NR_read = 0, NR_write = 1, NR_readv = 19, NR_writev = 20, NR_sendmsg = 46, NR_recvmsg = 47;

    /// <summary>Binds the call that a reactor's thread makes: to bind it when it is first made allocates the library's name.</summary>
    internal static void Bind()
    {
        const int NoFile = -1;
        // SAFETY: the kernel refuses a descriptor that is none before it looks at anything else.
        _ = WriteOne(NoFile, 0, 0);
    }

    /// <summary>readv(2), or read(2) where one vector needs no list: the kernel is spared the copy of it.</summary>
    internal static Errno Read(int fd, ReadOnlySpan<IoVector> vectors, out int length)
    {
        // SAFETY: the kernel reads the pinned vectors, and writes what they point at: memory that their holder keeps mapped.
        fixed (IoVector* first = vectors)
        {
            nint result = vectors.Length == 1 ? ReadOne(fd, first->Address, (nuint)first->Length) : Read(fd, first, vectors.Length);
            return CallResult.Of(result, out length);
        }
    }

    /// <summary>writev(2), or write(2) where one vector needs no list.</summary>
    internal static Errno Write(int fd, ReadOnlySpan<IoVector> vectors, out int length)
    {
        // SAFETY: as for Read; the kernel only reads the memory.
        fixed (IoVector* first = vectors)
        {
            nint result = vectors.Length == 1 ? WriteOne(fd, first->Address, (nuint)first->Length) : Write(fd, first, vectors.Length);
            return CallResult.Of(result, out length);
        }
    }

    /// <summary>Receives one datagram, or bytes of a stream, without waiting.</summary>
    internal static Errno Receive(int fd, ReadOnlySpan<IoVector> vectors, out int length)
    {
        // SAFETY: as for Read.
        fixed (IoVector* first = vectors)
        {
            MessageHeader message = new() { Vectors = first, VectorCount = (nuint)vectors.Length };
            return CallResult.Of(ReceiveMessage(fd, &message, SocketCalls.MSG_DONTWAIT), out length);
        }
    }

    /// <summary>Sends one datagram, or bytes of a stream, without waiting and without SIGPIPE.</summary>
    internal static Errno Send(int fd, ReadOnlySpan<IoVector> vectors, out int length)
    {
        // SAFETY: as for Write.
        fixed (IoVector* first = vectors)
        {
            MessageHeader message = new() { Vectors = first, VectorCount = (nuint)vectors.Length };
            return CallResult.Of(SendMessage(fd, &message, SocketCalls.MSG_DONTWAIT | SocketCalls.MSG_NOSIGNAL), out length);
        }
    }

    private static nint Read(int fd, IoVector* vectors, int count) => SystemCall(NR_readv, fd, (nint)vectors, count);

    private static nint Write(int fd, IoVector* vectors, int count) => SystemCall(NR_writev, fd, (nint)vectors, count);

    private static nint ReadOne(int fd, nint memory, nuint length) => SystemCall(NR_read, fd, memory, (nint)length);

    private static nint WriteOne(int fd, nint memory, nuint length) => SystemCall(NR_write, fd, memory, (nint)length);

    private static nint ReceiveMessage(int fd, MessageHeader* message, int flags) => SystemCall(NR_recvmsg, fd, (nint)message, flags);

    private static nint SendMessage(int fd, MessageHeader* message, int flags) => SystemCall(NR_sendmsg, fd, (nint)message, flags);

    // The wrappers of libc are cancellation points, which costs two locked instructions a call.
    [LibraryImport(Name, EntryPoint = "syscall", SetLastError = true)]
    private static partial nint SystemCall(long number, long fd, nint memory, nint count);
}
