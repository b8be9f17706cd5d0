using System.Runtime.InteropServices;
using Vmm.Events;

namespace Vmm.Devices.Native;

/// <summary>
/// The smallest io_uring there is: one entry, whose completion makes the kernel signal an eventfd. Costs one system call a signal, as a
/// write would. Used by one thread at a time.
/// </summary>
internal sealed unsafe partial class SignalRing : IDisposable
{
    private const long SetupCall = 425;
    private const long EnterCall = 426;
    private const long RegisterCall = 427;
    private const nint RegisterEventFd = 4;
    private const long SubmissionRingOffset = 0;
    private const long EntriesOffset = 0x10000000;
    private const uint SingleMapFeature = 1;
    private const int EntryBytes = 64;
    private const int ReadWrite = 3;
    private const int Shared = 1;
    private const byte NoOperation = 0;

    private readonly OwnedFd _fd;
    private readonly byte* _rings;
    private readonly nuint _ringBytes;
    private readonly byte* _entry;
    private readonly uint* _submissionTail;
    private readonly uint* _completionHead;
    private readonly uint* _completionTail;

    private SignalRing(OwnedFd fd, in RingParameters parameters, byte* rings, nuint ringBytes, byte* entry)
    {
        _fd = fd;
        _rings = rings;
        _ringBytes = ringBytes;
        _entry = entry;
        // SAFETY: the kernel gave these offsets for the mapping they are used with.
        _submissionTail = (uint*)(rings + parameters.SubmissionTail);
        _completionHead = (uint*)(rings + parameters.CompletionHead);
        _completionTail = (uint*)(rings + parameters.CompletionTail);
        *(uint*)(rings + parameters.SubmissionArray) = 0;
        // The entry stays as it is: an empty operation, submitted again and again.
        new Span<byte>(entry, EntryBytes).Clear();
        entry[0] = NoOperation;
    }

    /// <summary>Makes the ring of an eventfd.</summary>
    /// <returns>Null where the kernel has no io_uring, or does not let us use it.</returns>
    internal static SignalRing? TryCreate(int eventFd)
    {
        RingParameters parameters = default;
        // SAFETY: io_uring_setup fills a local of the size it expects.
        long number = SystemCall(SetupCall, 1, (nint)(&parameters), 0, 0);
        if (number < 0) return null;
        OwnedFd fd = new((int)number);
        if ((parameters.Features & SingleMapFeature) == 0
            || SystemCall(RegisterCall, number, RegisterEventFd, (nint)(&eventFd), 1) < 0)
        {
            fd.Dispose();
            return null;
        }
        nuint ringBytes = Math.Max(parameters.SubmissionArray + (parameters.SubmissionEntries * sizeof(uint)),
            parameters.CompletionEntries + (parameters.CompletionCount * 16));
        // SAFETY: fresh mappings of the ring's own memory, of the sizes the kernel gave; unmapped once by Dispose.
        byte* rings = (byte*)Map(null, ringBytes, ReadWrite, Shared, (int)number, SubmissionRingOffset);
        byte* entry = (byte*)Map(null, EntryBytes, ReadWrite, Shared, (int)number, EntriesOffset);
        if ((nint)rings != -1 && (nint)entry != -1) return new SignalRing(fd, parameters, rings, ringBytes, entry);
        if ((nint)rings != -1) _ = Unmap(rings, ringBytes);
        if ((nint)entry != -1) _ = Unmap(entry, EntryBytes);
        fd.Dispose();
        return null;
    }

    /// <summary>Has the kernel add 1 to the eventfd. Never blocks.</summary>
    internal void Signal()
    {
        // SAFETY: pointers into mappings that live until Dispose; the ring is ours alone, the kernel reads the tail and writes the other
        // one.
        Volatile.Write(ref *_submissionTail, *_submissionTail + 1);
        _ = SystemCall(EnterCall, _fd.Number, 1, 0, 0);
        Volatile.Write(ref *_completionHead, Volatile.Read(ref *_completionTail));
    }

    /// <summary>
    /// The way without a ring: a write, if there is room for it at this moment. A hostile owner who clears O_NONBLOCK and fills the counter
    /// between the two calls can still make it wait; where io_uring is allowed that can't happen.
    /// </summary>
    internal static void WriteIfRoom(int eventFd)
    {
        PollEntry poll = new() { Fd = eventFd, Events = SocketCalls.POLLOUT };
        ulong one = 1;
        // SAFETY: both calls read and write locals of the sizes they expect.
        if (SocketCalls.Poll(&poll, 1, 0) == 1 && (poll.Returned & SocketCalls.POLLOUT) != 0) _ = Write(eventFd, &one, sizeof(ulong));
    }

    public void Dispose()
    {
        // SAFETY: mapped by TryCreate; the owner disposes once and calls nothing after.
        _ = Unmap(_rings, _ringBytes);
        _ = Unmap(_entry, EntryBytes);
        _fd.Dispose();
    }

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial long SystemCall(long number, long first, nint second, nint third, nint fourth, nint fifth = 0, nint sixth = 0);

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial void* Map(void* address, nuint length, int protection, int flags, int fd, long offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Unmap(void* address, nuint length);

    [LibraryImport("libc", EntryPoint = "write")]
    private static partial nint Write(int fd, void* buffer, nuint count);
}

/// <summary>struct io_uring_params (io_uring_setup(2)), as far as it is looked at.</summary>
[StructLayout(LayoutKind.Explicit, Size = 120)]
internal struct RingParameters
{
    [FieldOffset(0)] internal uint SubmissionEntries;
    [FieldOffset(4)] internal uint CompletionCount;
    [FieldOffset(20)] internal uint Features;
    [FieldOffset(44)] internal uint SubmissionTail;
    [FieldOffset(64)] internal uint SubmissionArray;
    [FieldOffset(80)] internal uint CompletionHead;
    [FieldOffset(84)] internal uint CompletionTail;
    [FieldOffset(100)] internal uint CompletionEntries;
}
