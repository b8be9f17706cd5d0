using Vmm.Events.Native;

namespace Vmm.Events.Rings;

/// <summary>
/// The kernel's ring, with threads for the operations that it lacks. A chain is carried out by one of the two, as a whole.
/// </summary>
internal sealed class SplitRingEngine : IRingEngine
{
    private readonly IRingEngine _kernel;
    private readonly ThreadRingEngine _threads;
    private readonly List<IoUringEntry> _chain = [];
    private readonly Dictionary<ulong, (int Slot, int Fd)> _updates = [];

    internal SplitRingEngine(IRingEngine kernel, RingOptions options)
    {
        _kernel = kernel;
        _threads = new ThreadRingEngine(options with { SubmissionEntries = kernel.EntriesMax }, kernel.Wakeful);
    }

    public string Name => $"{_kernel.Name} and {_threads.Name}";

    public EventFd Wakeful => _kernel.Wakeful;

    public int EntriesMax => _kernel.EntriesMax;

    public int Room => Math.Min(_kernel.Room, _threads.Room) - _chain.Count;

    public bool HasWork => _kernel.HasWork || _threads.HasWork;

    public (long Submissions, long Overflows) Counts =>
        (_kernel.Counts.Submissions + _threads.Counts.Submissions, _kernel.Counts.Overflows);

    public bool Supports(IoUringOp operation) => _kernel.Supports(operation) || _threads.Supports(operation);

    public void Prepare(in IoUringEntry entry)
    {
        if (entry.Op == IoUringOp.AsyncCancel)
        {
            // The engine that has the operation cancels it; the other one does not find it.
            _kernel.Prepare(entry);
            _threads.Prepare(entry);
            return;
        }
        _chain.Add(entry);
        if ((entry.Flags & (IoUringEntryFlags.Link | IoUringEntryFlags.HardLink)) != 0) return;
        bool isForKernel = _chain.TrueForAll(each => _kernel.Supports(each.Op));
        foreach (IoUringEntry each in _chain)
        {
            if (each.Op == IoUringOp.FilesUpdate) _updates[each.UserData] = ((int)each.Offset, EntryMemory.Descriptor(each));
            if (isForKernel) _kernel.Prepare(each); else _threads.Prepare(ForThreads(each));
        }
        _chain.Clear();
    }

    public void Submit()
    {
        _kernel.Submit();
        _threads.Submit();
    }

    public bool TryTake(out IoUringCompletion completion)
    {
        if (!_kernel.TryTake(out completion) && !_threads.TryTake(out completion)) return false;
        // One of the two has changed its table: now the other does.
        if (_updates.Remove(completion.UserData, out (int Slot, int Fd) update) && completion.Result > 0)
            TryRegisterFile(update.Slot, update.Fd);
        return true;
    }

    public void Wait(int timeoutMs)
    {
        const int LookMs = 1;
        Submit();
        // Neither wakes a wait for the other: only the end of a ring waits like this.
        if (!HasWork) _threads.Wait(Math.Min(LookMs, timeoutMs));
        if (!HasWork) _kernel.Wait(Math.Min(LookMs, timeoutMs));
    }

    public void SetSignalling(bool isOn)
    {
        _kernel.SetSignalling(isOn);
        _threads.SetSignalling(isOn);
    }

    public bool TryRegisterFile(int slot, int fd) => _kernel.TryRegisterFile(slot, fd) && _threads.TryRegisterFile(slot, fd);

    public Errno RegisterBuffer(int slot, nint address, int length) => _kernel.RegisterBuffer(slot, address, length);

    public void Dispose()
    {
        _threads.Dispose();
        _kernel.Dispose();
    }

    /// <summary>Threads know no table of buffers.</summary>
    private static IoUringEntry ForThreads(IoUringEntry entry)
    {
        entry.Op = entry.Op switch
        {
            IoUringOp.ReadFixed => IoUringOp.Read,
            IoUringOp.WriteFixed => IoUringOp.Write,
            _ => entry.Op,
        };
        return entry;
    }
}
