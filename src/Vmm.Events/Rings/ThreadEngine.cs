using Vmm.Events.Native;

namespace Vmm.Events.Rings;

/// <summary>
/// Carries out a ring's operations where the kernel's ring is not to be had: calls that wait for a disk on a few threads, calls that wait for a peer
/// on one thread that polls. Looks from outside like the kernel's ring, results and links included.
/// </summary>
internal sealed class ThreadEngine : IRingEngine
{
    private readonly List<IoUringEntry> _prepared = [];
    private readonly Queue<IoUringCompletion> _done = new();
    private readonly FileWorkers _workers;
    private readonly PeerPoll _poll;
    private volatile bool _signalling;
    private volatile int _doneCount;
    private long _submissions;

    /// <param name="options">How many entries and threads.</param>
    /// <param name="wakeful">The eventfd to signal, if it is another engine's too.</param>
    internal ThreadEngine(RingOptions options, EventFd? wakeful = null)
    {
        Wakeful = wakeful ?? new EventFd();
        EntriesMax = options.SubmissionEntries;
        _workers = new FileWorkers(options.Threads, Ended);
        _poll = new PeerPoll(Ended);
    }

    public string Name => "threads";

    public EventFd Wakeful { get; }

    public int EntriesMax { get; }

    public int Room => EntriesMax - _prepared.Count;

    public bool HasWork => _doneCount > 0 || _prepared.Count > 0;

    public (long Submissions, long Overflows) Counts => (_submissions, 0);

    public bool Supports(IoUringOp operation) => operation is not (IoUringOp.LinkTimeout or IoUringOp.TimeoutRemove or IoUringOp.PollRemove);

    public void Prepare(in IoUringEntry entry) => _prepared.Add(entry);

    public void Submit()
    {
        if (_prepared.Count == 0) return;
        _submissions++;
        ThreadJob? last = null;
        List<ThreadJob> begun = [];
        foreach (IoUringEntry entry in _prepared)
        {
            ThreadJob job = new(entry);
            if (last is null) begun.Add(job); else last.NextLinked = job;
            last = job.IsLinked ? job : null;
        }
        _prepared.Clear();
        foreach (ThreadJob job in begun) Start(job);
    }

    public bool TryTake(out IoUringCompletion completion)
    {
        completion = default;
        if (_doneCount == 0) return false;
        lock (_done)
        {
            _doneCount--;
            completion = _done.Dequeue();
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
        _signalling = isOn;
        if (isOn) Interlocked.MemoryBarrier();
    }

    public bool TryRegisterFile(int slot, int fd) => false;

    public bool TryRegisterBuffer(int slot, nint address, int length) => false;

    public void Dispose()
    {
        _workers.Dispose();
        _poll.Dispose();
    }

    private void Start(ThreadJob job)
    {
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
                // There is no table: the descriptors are used as they are.
                Ended(job, -(int)Errno.NotSupported);
                break;
            default:
                if (job.WaitsForPeer) _poll.Add(job); else _workers.Add(job);
                break;
        }
    }

    /// <summary>On any thread: an operation is over; the ones linked to it follow, or end with it.</summary>
    private void Ended(ThreadJob job, int result)
    {
        ThreadJob? next = job.NextLinked;
        bool cancelsLinks = job.BreaksLink(result);
        Post(job, result);
        while (next is not null && cancelsLinks)
        {
            Post(next, -(int)Errno.Canceled);
            next = next.NextLinked;
        }
        if (next is not null) Start(next);
    }

    private void Post(ThreadJob job, int result)
    {
        lock (_done)
        {
            _done.Enqueue(new IoUringCompletion { UserData = job.Entry.UserData, Result = result });
            _doneCount++;
            Monitor.Pulse(_done);
        }
        Interlocked.MemoryBarrier();
        if (_signalling) Wakeful.Signal();
    }
}
