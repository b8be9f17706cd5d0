namespace Vmm.Events.Rings;

/// <summary>
/// Carries out a ring's operations where the kernel's ring is not to be had: calls that wait for a disk on a few threads, calls that wait
/// for a peer on one thread that polls. Looks from outside like the kernel's ring, results and links included.
/// </summary>
internal sealed class ThreadRingEngine : IRingEngine
{
    private const int Signalling = 1;
    private const int One = 2;

    private readonly List<IoUringEntry> _prepared = [];
    private readonly List<ThreadJob> _begun = [];
    private readonly Queue<Done> _done = new();
    private readonly Stack<ThreadJob> _free = new();
    private readonly FileWorkers _workers;
    private readonly PeerPoll _poll;
    private readonly int[] _files;
    /// <summary>
    /// How many are done and not taken, times <see cref="One"/>, and whether the next one is signalled: one word, so that of a thread that
    /// completes and the reactor that turns the signal on the later one sees the other.
    /// </summary>
    private int _state;
    private long _submissions;

    internal ThreadRingEngine(RingOptions options)
    {
        EntriesMax = options.SubmissionEntries;
        _workers = new FileWorkers(options.Threads, Ended);
        _poll = new PeerPoll(Ended);
        _files = new int[options.FilesMax];
        Array.Fill(_files, RingFile.NotRegistered);
    }

    public string Name => "threads";

    public EventFd Wakeful { get; } = new();

    public int EntriesMax { get; }

    public int Room => EntriesMax - _prepared.Count;

    public bool HasWork => Volatile.Read(ref _state) >= One || _prepared.Count > 0;

    public bool TakesFixedLists => false;

    public (long Submissions, long Overflows) Counts => (_submissions, 0);

    public void Prepare(in IoUringEntry entry) => _prepared.Add(entry);

    public void Submit()
    {
        if (_prepared.Count == 0) return;
        _submissions++;
        ThreadJob? last = null;
        foreach (IoUringEntry entry in _prepared)
        {
            ThreadJob job = _free.TryPop(out ThreadJob? free) ? free : new ThreadJob();
            job.Entry = entry;
            job.DueMs = long.MaxValue;
            job.IsAlone = last is null && !job.IsLinked;
            if (last is null) _begun.Add(job); else last.NextLinked = job;
            last = job.IsLinked ? job : null;
        }
        _prepared.Clear();
        foreach (ThreadJob job in _begun) Start(job);
        _begun.Clear();
    }

    public bool TryTake(out IoUringCompletion completion)
    {
        completion = default;
        if (Volatile.Read(ref _state) < One) return false;
        lock (_done)
        {
            Interlocked.Add(ref _state, -One);
            Done done = _done.Dequeue();
            completion = done.Completion;
            if (done.Job.IsAlone) _free.Push(done.Job);
            return true;
        }
    }

    public void Wait(int timeoutMs)
    {
        Submit();
        lock (_done)
        {
            if (_done.Count == 0) Monitor.Wait(_done, timeoutMs);
        }
    }

    public void SetSignalling(bool isOn)
    {
        if (isOn) Interlocked.Or(ref _state, Signalling); else Interlocked.And(ref _state, ~Signalling);
    }

    public bool TryRegisterFile(int slot, int fd)
    {
        Volatile.Write(ref _files[slot], fd);
        return true;
    }

    public Errno RegisterBuffer(int slot, nint address, int length) => Errno.NotSupported;

    public void Dispose()
    {
        _workers.Dispose();
        _poll.Dispose();
    }

    private void Start(ThreadJob job)
    {
        ThreadJob? limit = job.NextLinked is { IsTimeLimit: true } next ? next : null;
        if (limit is not null)
        {
            limit.Limits = job;
            // Read the time now: when the operation has ended, the limit has too, and the memory of its timespec may be reused.
            limit.Arm();
        }
        Carry(job);
        if (limit is not null) _poll.Add(limit);
    }

    private void Carry(ThreadJob job)
    {
        // Looked up when the operation starts: one before it in the chain may have changed the table.
        if ((job.Entry.Flags & IoUringEntryFlags.FixedFile) != 0) job.Entry.Fd = Volatile.Read(ref _files[job.Entry.Fd]);
        switch (job.Entry.Op)
        {
            case IoUringOp.Nop:
                Ended(job, 0);
                break;
            case IoUringOp.AsyncCancel:
                bool found = _workers.TryCancel(job.Entry.Address) || _poll.TryCancel(job.Entry.Address);
                Ended(job, found ? 0 : -(int)Errno.NoEntry);
                break;
            case IoUringOp.FilesUpdate:
                TryRegisterFile((int)job.Entry.Offset, EntryMemory.Descriptor(job.Entry));
                Ended(job, 1);
                break;
            case IoUringOp.LinkTimeout:
                // Behind nothing that it could limit.
                Ended(job, -(int)Errno.Invalid);
                break;
            default:
                if (job.WaitsForPeer) _poll.Add(job); else _workers.Add(job);
                break;
        }
    }

    /// <summary>On any thread: an operation is over; the ones linked to it follow, or end with it.</summary>
    internal void Ended(ThreadJob job, int result)
    {
        if (job is { IsTimeLimit: true, Limits: not null })
        {
            LimitReached(job);
            return;
        }
        ThreadJob? next = job.NextLinked;
        bool cancelsLinks = job.BreaksLink(result);
        if (next is { IsTimeLimit: true } limit)
        {
            next = limit.NextLinked;
            if (limit.TryClaim())
            {
                Post(limit, -(int)Errno.Canceled);
                _poll.TryCancel(limit.Entry.UserData);
            }
        }
        Post(job, result);
        while (next is not null && cancelsLinks)
        {
            Post(next, -(int)Errno.Canceled);
            next = next.NextLinked;
        }
        if (next is not null) Start(next);
    }

    /// <summary>On the polling thread: the time of an operation is up.</summary>
    private void LimitReached(ThreadJob limit)
    {
        if (!limit.TryClaim()) return;
        ulong limited = limit.Limits!.Entry.UserData;
        bool isCancelled = _workers.TryCancel(limited) || _poll.TryCancelHere(limited);
        Post(limit, -(int)(isCancelled ? Errno.TimerExpired : Errno.Already));
    }

    private void Post(ThreadJob job, int result)
    {
        bool isSignalled;
        lock (_done)
        {
            _done.Enqueue(new Done(new IoUringCompletion { UserData = job.Entry.UserData, Result = result }, job));
            isSignalled = (Interlocked.Add(ref _state, One) & Signalling) != 0;
            Monitor.Pulse(_done);
        }
        if (isSignalled) Wakeful.Signal();
    }

    private readonly record struct Done(IoUringCompletion Completion, ThreadJob Job);
}
