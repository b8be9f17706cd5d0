namespace Vmm.Events.Rings;

/// <summary>A ring of the kernel as the engine of an <see cref="IoRing"/>. The thread that first submits owns it (SINGLE_ISSUER).</summary>
internal sealed unsafe class KernelRingEngine : IRingEngine
{
    private const uint Sparse = 1;
    private const long NanosecondsPerMillisecond = 1_000_000;

    private static readonly IoUringSetup[] Setups =
    [
        IoUringSetup.SubmitAll | IoUringSetup.SingleIssuer | IoUringSetup.DeferTaskRun | IoUringSetup.TaskRunFlag | IoUringSetup.Disabled,
        IoUringSetup.SubmitAll | IoUringSetup.CoopTaskRun | IoUringSetup.TaskRunFlag,
        IoUringSetup.None,
    ];

    /// <summary>What <see cref="RingOptions.OnlyTransfers"/> leaves of operations.</summary>
    private static readonly IoUringOp[] Transfers =
    [
        IoUringOp.Nop, IoUringOp.ReadV, IoUringOp.WriteV, IoUringOp.Read, IoUringOp.Write, IoUringOp.ReadFixed, IoUringOp.WriteFixed,
        IoUringOp.Fsync, IoUringOp.Fallocate, IoUringOp.Timeout, IoUringOp.TimeoutRemove, IoUringOp.LinkTimeout, IoUringOp.AsyncCancel,
    ];

    private static readonly IoUringOp[] TransfersOfFixedLists = [IoUringOp.ReadVFixed, IoUringOp.WriteVFixed];

    private const IoUringEntryFlags FlagsOfTransfers = IoUringEntryFlags.FixedFile | IoUringEntryFlags.Drain | IoUringEntryFlags.Link
        | IoUringEntryFlags.HardLink | IoUringEntryFlags.Async | IoUringEntryFlags.CqeSkipSuccess;

    /// <summary>What is registered and taken back while a ring works.</summary>
    private static readonly IoUringRegister[] Registrations =
    [
        IoUringRegister.FilesUpdate, IoUringRegister.UnregisterFiles, IoUringRegister.BuffersUpdate, IoUringRegister.UnregisterBuffers,
    ];

    private readonly IoUringQueue _queue;
    private readonly bool _hasFiles;
    private readonly bool _hasBuffers;
    private bool _enabled;
    private long _submissions;
    private long _overflows;

    private KernelRingEngine(IoUringQueue queue, EventFd wakeful, IoUringSetup setup, RingOptions options)
    {
        _queue = queue;
        Wakeful = wakeful;
        _enabled = (setup & IoUringSetup.Disabled) == 0;
        TakesFixedLists = options.TakesFixedLists && Knows(IoUringOp.WriteVFixed);
        _hasFiles = RegisterSparse(IoUringRegister.Files2, options.FilesMax);
        _hasBuffers = RegisterSparse(IoUringRegister.Buffers2, options.BuffersMax);
    }

    internal static Errno TryCreate(RingOptions options, out KernelRingEngine? engine)
    {
        engine = null;
        Errno errno = Errno.None;
        foreach (IoUringSetup known in Setups)
        {
            // Restrictions are laid on a ring that has not begun.
            IoUringSetup setup = options.OnlyTransfers ? known | IoUringSetup.Disabled : known;
            int completions = options.CompletionEntries != 0 ? options.CompletionEntries : 4 * options.SubmissionEntries;
            errno = IoUringQueue.TryCreate(
                (uint)options.SubmissionEntries, (uint)Math.Max(completions, options.SubmissionEntries), setup | IoUringSetup.Clamp,
                out IoUringQueue? queue);
            if (errno == Errno.None) return TryMake(queue!, setup, options, out engine);
            if (errno != Errno.Invalid) break;
        }
        return errno;
    }

    private static Errno TryMake(IoUringQueue queue, IoUringSetup setup, RingOptions options, out KernelRingEngine? engine)
    {
        engine = null;
        EventFd? wakeful = null;
        try
        {
            wakeful = new EventFd();
            int fd = wakeful.Number;
            // SAFETY: the kernel reads one int, a local.
            Errno errno = queue.Register(IoUringRegister.EventFd, &fd, 1);
            // A ring that could not wake the reactor would lose completions.
            if (errno != Errno.None) return errno;
            KernelRingEngine made = new(queue, wakeful, setup, options);
            if (options.OnlyTransfers)
            {
                IoUringOp[] allowed = made.TakesFixedLists ? [.. Transfers, .. TransfersOfFixedLists] : Transfers;
                errno = queue.Restrict(allowed, FlagsOfTransfers, Registrations);
            }
            if (errno == Errno.None) engine = made;
            return errno;
        }
        finally
        {
            if (engine is null)
            {
                wakeful?.Dispose();
                queue.Dispose();
            }
        }
    }

    public string Name => "io_uring";

    public EventFd Wakeful { get; }

    public bool TakesFixedLists { get; }

    public int EntriesMax => (int)_queue.SqCapacity;

    public int Room => (int)(_queue.SqCapacity - _queue.Unsubmitted);

    public bool HasWork => _queue.Available > 0 || _queue.HasTaskWork || _queue.HasOverflown || _queue.Unsubmitted > 0;

    public (long Submissions, long Overflows) Counts => (_submissions, _overflows);

    public void Prepare(in IoUringEntry entry) => _queue.Prepare() = entry;

    public void Submit()
    {
        bool submits = _queue.Unsubmitted > 0;
        bool reaps = _queue.HasTaskWork || _queue.HasOverflown;
        if (!submits && !reaps) return;
        if (!_enabled) Enable();
        if (submits) _submissions++;
        if (_queue.HasOverflown) _overflows++;
        Check(reaps ? _queue.SubmitAndReap() : _queue.Submit());
    }

    public bool TryTake(out IoUringCompletion completion) => _queue.TryTake(out completion);

    public void Wait(int timeoutMs)
    {
        if (!_enabled) Enable();
        Check(_queue.SubmitAndWait(1, timeoutMs * NanosecondsPerMillisecond));
    }

    public void SetSignalling(bool isOn) => _queue.SetSignalling(isOn);

    public bool TryRegisterFile(int slot, int fd)
    {
        if (!_hasFiles) return false;
        // SAFETY: the kernel reads one int and one io_uring_rsrc_update (the layout of io_uring_files_update), both locals.
        IoUringResourceUpdate update = new() { Offset = (uint)slot, Data = (ulong)&fd };
        return _queue.Register(IoUringRegister.FilesUpdate, &update, 1) == Errno.None;
    }

    public Errno RegisterBuffer(int slot, nint address, int length)
    {
        if (!_hasBuffers) return Errno.NotSupported;
        IoVec buffer = new() { Address = address, Length = length };
        ulong noTag = 0;
        IoUringTaggedUpdate update = new() { Offset = (uint)slot, Data = (ulong)&buffer, Tags = (ulong)&noTag, Count = 1 };
        // SAFETY: the kernel reads locals; the memory itself is mapped until it is taken out of the table (SlabPool.PageChanged,
        // RingMemory).
        return _queue.Register(IoUringRegister.BuffersUpdate, &update, (uint)sizeof(IoUringTaggedUpdate));
    }

    public void Dispose()
    {
        // The kernel takes a closed ring apart in the background, and would hold the files of its table until then.
        if (_hasFiles && _enabled) _ = _queue.Register(IoUringRegister.UnregisterFiles, null, 0);
        if (_hasBuffers && _enabled) _ = _queue.Register(IoUringRegister.UnregisterBuffers, null, 0);
        _queue.Dispose();
    }

    private void Enable()
    {
        Errno errno = _queue.Enable();
        if (errno != Errno.None) throw new KernelException("cannot enable an io_uring", errno);
        _enabled = true;
    }

    private static void Check(Errno errno)
    {
        // Busy and Again: completions come first, what was not taken stays prepared.
        if (errno is Errno.None or Errno.Busy or Errno.Again or Errno.Interrupted) return;
        throw new KernelException("io_uring_enter", errno,
            errno == Errno.Exists ? "the ring belongs to the thread that first submitted to it" : null);
    }

    /// <summary>Whether the kernel has an operation. They come in the order of their numbers.</summary>
    private bool Knows(IoUringOp operation)
    {
        // struct io_uring_probe, of which the first byte is the last operation that the kernel has. There is no room for more.
        const int Head = 16;
        byte* probe = stackalloc byte[Head];
        new Span<byte>(probe, Head).Clear();
        // SAFETY: the kernel fills in the head, a local, and no operations.
        return _queue.Register(IoUringRegister.Probe, probe, 0) == Errno.None && probe[0] >= (byte)operation;
    }

    private bool RegisterSparse(IoUringRegister what, int slots)
    {
        IoUringTableRegistration table = new() { Count = (uint)slots, Flags = Sparse };
        // SAFETY: the kernel reads one struct, a local; a sparse table names no memory.
        return _queue.Register(what, &table, (uint)sizeof(IoUringTableRegistration)) == Errno.None;
    }
}
