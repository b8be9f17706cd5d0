using System.Diagnostics;

namespace Vmm.Events.Rings;

/// <summary>
/// One io_uring: its mapped rings and the three calls on it (io_uring(7)). It knows nothing of what is submitted. Used by one thread at a
/// time; with <see cref="IoUringSetup.SingleIssuer"/> by the thread that enabled it only: any other gets <see cref="Errno.Exists"/>.
/// </summary>
/// <example><code>
/// if (!queue.HasRoom) queue.Submit();
/// queue.Prepare() = new IoUringEntry { Op = IoUringOp.Nop, UserData = 7 };
/// queue.SubmitAndWait(completionsMin: 1, timeoutNs: IoUringQueue.Forever);
/// while (queue.TryTake(out IoUringCompletion done)) …
/// </code></example>
internal sealed unsafe class IoUringQueue : IDisposable
{
    internal const long Forever = -1;

    private const uint EnterGetEvents = 1u << 0;
    private const uint EnterExtArg = 1u << 3;
    private const uint EnterRegisteredRing = 1u << 4;
    private const uint FlagOverflow = 1u << 1;
    private const uint FlagTaskRun = 1u << 2;
    private const uint FlagEventFdDisabled = 1u << 0;
    private const long SqRingOffset = 0;
    private const long EntriesOffset = 0x10000000;
    private const int NotRegistered = -1;
    /// <summary>A kernel that has them, from Linux 5.17 on, has each operation of <see cref="IoUringOp"/> too.</summary>
    private const IoUringFeatures Needed =
        IoUringFeatures.SingleMmap | IoUringFeatures.NoDrop | IoUringFeatures.SubmitStable | IoUringFeatures.ExtArg
            | IoUringFeatures.CqeSkip;

    private readonly int _fd;
    private readonly byte* _rings;
    private readonly nuint _ringsLength;
    private readonly IoUringEntry* _entries;
    private readonly nuint _entriesLength;
    private readonly uint* _sqHead;
    private readonly uint* _sqTail;
    private readonly uint* _sqFlags;
    private readonly uint* _cqHead;
    private readonly uint* _cqTail;
    private readonly uint* _cqFlags;
    private readonly IoUringCompletion* _completions;
    private readonly uint _sqMask;
    private readonly uint _cqMask;
    private uint _prepared;
    private int _enterFd;
    private uint _enterFlags;
    private int _registered = NotRegistered;
    private bool _disposed;

    // SAFETY: both mappings were made by TryCreate with the lengths given here, and live until Dispose; the kernel gave the offsets.
    private IoUringQueue(int fd, in IoUringParams parameters, byte* rings, nuint ringsLength, void* entries, nuint entriesLength)
    {
        _fd = _enterFd = fd;
        _rings = rings;
        _ringsLength = ringsLength;
        _entries = (IoUringEntry*)entries;
        _entriesLength = entriesLength;
        Features = parameters.Features;
        SqCapacity = parameters.SqEntries;
        CqCapacity = parameters.CqEntries;
        _sqHead = (uint*)(rings + parameters.Sq.Head);
        _sqTail = (uint*)(rings + parameters.Sq.Tail);
        _sqFlags = (uint*)(rings + parameters.Sq.Flags);
        _sqMask = *(uint*)(rings + parameters.Sq.RingMask);
        _cqHead = (uint*)(rings + parameters.Cq.Head);
        _cqTail = (uint*)(rings + parameters.Cq.Tail);
        _cqFlags = (uint*)(rings + parameters.Cq.Flags);
        _cqMask = *(uint*)(rings + parameters.Cq.RingMask);
        _completions = (IoUringCompletion*)(rings + parameters.Cq.Entries);
        _prepared = *_sqTail;
        // The index array never changes: submission i sits in entry i.
        uint* array = (uint*)(rings + parameters.Sq.Array);
        for (uint i = 0; i < SqCapacity; i++) array[i] = i;
    }

    /// <summary>The ring's descriptor: readable (epoll, poll) while completions wait.</summary>
    internal int Fd => _fd;

    internal IoUringFeatures Features { get; }

    internal uint SqCapacity { get; }

    internal uint CqCapacity { get; }

    /// <summary>Makes a ring. The kernel rounds its entries up to a power of two; 0 completions are twice as many as entries.</summary>
    /// <returns>
    /// <see cref="Errno.NotImplemented"/> or <see cref="Errno.Invalid"/> from a kernel too old, <see cref="Errno.NotPermitted"/> where
    /// kernel.io_uring_disabled or a seccomp filter forbids it, or what else the kernel said.
    /// </returns>
    internal static Errno TryCreate(uint entries, uint completions, IoUringSetup setup, out IoUringQueue? queue)
    {
        queue = null;
        IoUringParams parameters = new() { Flags = setup, CqEntries = completions };
        if (completions != 0) parameters.Flags |= IoUringSetup.CqSize;
        // SAFETY: the kernel reads and fills one io_uring_params, a local.
        int fd = Libc.IoUringSetUp(entries, &parameters);
        if (fd < 0) return Libc.LastError;
        if ((parameters.Features & Needed) != Needed) return Refuse(fd, Errno.NotImplemented);

        nuint ringsLength = Math.Max(
            parameters.Sq.Array + parameters.SqEntries * sizeof(uint),
            parameters.Cq.Entries + parameters.CqEntries * (uint)sizeof(IoUringCompletion));
        nuint entriesLength = parameters.SqEntries * (uint)sizeof(IoUringEntry);
        byte* rings = Map(fd, SqRingOffset, ringsLength);
        if (rings is null) return Refuse(fd, Libc.LastError);
        void* entriesMap = Map(fd, EntriesOffset, entriesLength);
        if (entriesMap is null)
        {
            Errno errno = Libc.LastError;
            // SAFETY: mapped two lines above, and not handed to any other code.
            _ = Libc.Unmap(rings, ringsLength);
            return Refuse(fd, errno);
        }
        Libc.BindIoUring();
        queue = new IoUringQueue(fd, parameters, rings, ringsLength, entriesMap, entriesLength);
        return Errno.None;
    }

    /// <summary>Whether <see cref="Prepare"/> has an entry to give; if not, submit first.</summary>
    // SAFETY: the ring's head lies in the mapping until Dispose.
    internal bool HasRoom => _prepared - Volatile.Read(ref *_sqHead) <= _sqMask;

    /// <summary>Entries prepared and not yet taken by the kernel.</summary>
    // SAFETY: the ring's head lies in the mapping until Dispose.
    internal uint Unsubmitted => _prepared - Volatile.Read(ref *_sqHead);

    /// <summary>The next submission entry, to be overwritten as a whole; needs <see cref="HasRoom"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ref IoUringEntry Prepare()
    {
        Debug.Assert(HasRoom, "the submission ring is full");
        // SAFETY: the mask keeps the index inside the mapped array; the kernel does not look at it before the tail passes it.
        return ref _entries[_prepared++ & _sqMask];
    }

    /// <summary>Completions that can be taken now.</summary>
    // SAFETY: the ring's head and tail lie in the mapping until Dispose.
    internal uint Available => Volatile.Read(ref *_cqTail) - *_cqHead;

    /// <summary>Whether the kernel keeps completions that found no room, until the next wait (IORING_SQ_CQ_OVERFLOW).</summary>
    // SAFETY: the ring's flags lie in the mapping until Dispose.
    internal bool HasOverflown => (Volatile.Read(ref *_sqFlags) & FlagOverflow) != 0;

    /// <summary>With <see cref="IoUringSetup.TaskRunFlag"/>: whether work of the kernel waits for the next call.</summary>
    // SAFETY: the ring's flags lie in the mapping until Dispose.
    internal bool HasTaskWork => (Volatile.Read(ref *_sqFlags) & FlagTaskRun) != 0;

    /// <summary>
    /// Whether completions signal the registered eventfd (IORING_CQ_EVENTFD_DISABLED). After turning it on the caller must look for
    /// completions: those that came before are not signalled.
    /// </summary>
    internal void SetSignalling(bool isOn)
    {
        // SAFETY: the flags lie in the mapped ring.
        Volatile.Write(ref *_cqFlags, isOn ? 0 : FlagEventFdDisabled);
        if (isOn) Interlocked.MemoryBarrier();
    }

    /// <summary>Takes the oldest completion.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryTake(out IoUringCompletion completion)
    {
        uint head = *_cqHead;
        if (head == Volatile.Read(ref *_cqTail))
        {
            completion = default;
            return false;
        }
        // SAFETY: the mask keeps the index inside the mapped array; the entry was read before the head says so.
        completion = _completions[head & _cqMask];
        Volatile.Write(ref *_cqHead, head + 1);
        return true;
    }

    /// <summary>
    /// Looks for the last completion of a request among those that can be taken, behind those that earlier calls looked at.
    /// </summary>
    internal bool HasLastCompletion(ulong userData, ref uint looked)
    {
        uint head = *_cqHead;
        for (uint available = Available; looked < available; looked++)
        {
            // SAFETY: the mask keeps the index inside the mapped array; the kernel wrote the entry before it moved the tail.
            ref readonly IoUringCompletion done = ref _completions[(head + looked) & _cqMask];
            if (done.UserData == userData && (done.Flags & IoUringCompletionFlags.More) == 0) return true;
        }
        return false;
    }

    /// <summary>Submits what was prepared.</summary>
    /// <returns>
    /// <see cref="Errno.Again"/> or <see cref="Errno.Busy"/> while completions must be taken first, <see cref="Errno.Exists"/> on
    /// the wrong thread of a single-issuer ring.
    /// </returns>
    internal Errno Submit() => Enter(completionsMin: 0, flags: 0, null, 0);

    /// <summary>Submits, and has the kernel finish the work it deferred, without blocking.</summary>
    /// <inheritdoc cref="Submit" path="/returns"/>
    internal Errno SubmitAndReap() => Enter(completionsMin: 0, EnterGetEvents, null, 0);

    /// <summary>
    /// Submits, and blocks until so many completions can be taken. A signal or the time limit ends it early, without an error.
    /// </summary>
    /// <inheritdoc cref="Submit" path="/returns"/>
    internal Errno SubmitAndWait(uint completionsMin, long timeoutNs)
    {
        if (timeoutNs < 0) return Enter(completionsMin, EnterGetEvents, null, 0);
        const long NanosecondsPerSecond = 1_000_000_000;
        KernelTimeSpec limit = new() { Seconds = timeoutNs / NanosecondsPerSecond, Nanoseconds = timeoutNs % NanosecondsPerSecond };
        // SAFETY: the kernel reads both structs, locals, during the call.
        IoUringWaitArgument argument = new() { TimeSpec = (ulong)&limit };
        return Enter(completionsMin, EnterGetEvents | EnterExtArg, &argument, (nuint)sizeof(IoUringWaitArgument));
    }

    /// <summary>
    /// Has the kernel refuse every other operation, flag of an entry and registration from the start of the ring on, which was made with
    /// <see cref="IoUringSetup.Disabled"/>. No filter of system calls sees what a ring does.
    /// </summary>
    internal Errno Restrict(ReadOnlySpan<IoUringOp> operations, IoUringEntryFlags flags, ReadOnlySpan<IoUringRegister> registrations)
    {
        int count = 0;
        IoUringRestriction* all = stackalloc IoUringRestriction[operations.Length + registrations.Length + 1];
        foreach (IoUringOp operation in operations)
            all[count++] = new IoUringRestriction { Kind = IoUringRestrictionKind.Operation, Value = (byte)operation };
        foreach (IoUringRegister registration in registrations)
            all[count++] = new IoUringRestriction { Kind = IoUringRestrictionKind.Registration, Value = (byte)registration };
        all[count++] = new IoUringRestriction { Kind = IoUringRestrictionKind.EntryFlags, Value = (byte)flags };
        // SAFETY: the kernel reads the structures, which lie on the stack.
        return Register(IoUringRegister.Restrictions, all, (uint)count);
    }

    /// <summary>Starts a ring made with <see cref="IoUringSetup.Disabled"/>; the calling thread becomes its single issuer.</summary>
    internal Errno Enable() => Register(IoUringRegister.EnableRings, null, 0);

    /// <summary>
    /// Spares each later call the look-up of the descriptor. Belongs to the calling thread, which must call <see cref="UnregisterRingFd"/>
    /// before it leaves the ring to others: until then (or until it ends) the ring stays alive, and all that is watched with it.
    /// </summary>
    internal Errno RegisterRingFd()
    {
        if (_registered != NotRegistered) return Errno.None;
        IoUringResourceUpdate update = new() { Offset = uint.MaxValue, Data = (uint)_fd };
        // SAFETY: the kernel reads and writes one io_uring_rsrc_update, a local.
        Errno errno = Register(IoUringRegister.RingFds, &update, 1);
        if (errno != Errno.None) return errno;
        _registered = _enterFd = (int)update.Offset;
        _enterFlags = EnterRegisteredRing;
        return Errno.None;
    }

    /// <summary>Takes <see cref="RegisterRingFd"/> back, on the same thread.</summary>
    internal void UnregisterRingFd()
    {
        if (_registered == NotRegistered) return;
        IoUringResourceUpdate update = new() { Offset = (uint)_registered };
        // SAFETY: the kernel reads one io_uring_rsrc_update, a local.
        _ = Register(IoUringRegister.UnregisterRingFds, &update, 1);
        _registered = NotRegistered;
        _enterFd = _fd;
        _enterFlags = 0;
    }

    /// <summary>io_uring_register(2), for what is not wrapped above.</summary>
    internal Errno Register(IoUringRegister what, void* argument, uint count) =>
        // SAFETY: the caller's argument is valid for the operation it names.
        Libc.IoUringRegister(_fd, what, argument, count) >= 0 ? Errno.None : Libc.LastError;

    /// <summary>
    /// Closes the ring. The kernel cancels what is still in flight, and closes registered files, in the background after this returned: an
    /// owner that needs them closed ends its requests and unregisters its files first.
    /// </summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        // SAFETY: mapped by TryCreate, unmapped once; the owner makes no call after this.
        _ = Libc.Unmap(_entries, _entriesLength);
        _ = Libc.Unmap(_rings, _ringsLength);
        _ = Libc.Close(_fd);
    }

    private Errno Enter(uint completionsMin, uint flags, void* argument, nuint argumentSize)
    {
        Volatile.Write(ref *_sqTail, _prepared);
        uint submit = _prepared - Volatile.Read(ref *_sqHead);
        // SAFETY: the argument is null or one getevents_arg of the caller.
        if (Libc.IoUringEnter(_enterFd, submit, completionsMin, flags | _enterFlags, argument, argumentSize) >= 0) return Errno.None;
        // The fast call does not keep errno. Asked again without waiting, an interrupted or timed-out wait is no error any more, and what
        // remains is one.
        submit = _prepared - Volatile.Read(ref *_sqHead);
        uint again = (flags & EnterGetEvents) | _enterFlags;
        return Libc.IoUringEnterKeepingError(_enterFd, submit, 0, again) >= 0 ? Errno.None : Libc.LastError;
    }

    private static byte* Map(int fd, long offset, nuint length)
    {
        // SAFETY: a fresh mapping of the ring's own descriptor; nothing else is at that address.
        void* address = Libc.Map(null, length, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_SHARED | Libc.MAP_POPULATE, fd, offset);
        return (nint)address == -1 ? null : (byte*)address;
    }

    private static Errno Refuse(int fd, Errno errno)
    {
        _ = Libc.Close(fd);
        return errno;
    }
}
