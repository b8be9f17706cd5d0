namespace Vmm.Devices.Native;

/// <summary>The kernel's older queues of requests: io_setup(2), io_submit(2), io_destroy(2).</summary>
internal static unsafe partial class AioCalls
{
    internal const long SetupCall = 206;
    internal const long DestroyCall = 207;
    internal const long SubmitCall = 209;
    internal const ushort Write = 1;
    internal const uint SignalsEventFd = 1;

    /// <summary>Makes a queue; 0 if there is one.</summary>
    internal static long Setup(int requestsMax, AioRing** ring) => SystemCall(SetupCall, requestsMax, (nint)ring, 0);

    /// <summary>How many of the requests were taken; less than 0 if the kernel refuses.</summary>
    internal static long Submit(AioRing* ring, int count, AioRequest** requests) =>
        SystemCall(SubmitCall, (nint)ring, count, (nint)requests);

    internal static long Destroy(AioRing* ring) => SystemCall(DestroyCall, (nint)ring, 0, 0);

    /// <summary>write(2).</summary>
    [LibraryImport("libc", EntryPoint = "write")]
    internal static partial nint WriteTo(int fd, void* buffer, nuint count);

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial long SystemCall(long number, nint first, nint second, nint third);
}

/// <summary>
/// struct aio_ring of the kernel, as far as it is looked at: user space takes completions by itself if it knows the number.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AioRing
{
    internal const uint Known = 0xa10a10a1;

    internal uint Id;
    internal uint Count;
    internal uint Head;
    internal uint Tail;
    internal uint Magic;
}

/// <summary>struct iocb (linux/aio_abi.h).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AioRequest
{
    internal ulong Data;
    internal uint Key;
    internal uint ReadWriteFlags;
    internal ushort Operation;
    internal short Priority;
    internal int Fd;
    internal ulong Buffer;
    internal ulong Bytes;
    internal long Offset;
    internal ulong Reserved;
    internal uint Flags;
    internal int EventFd;
}
