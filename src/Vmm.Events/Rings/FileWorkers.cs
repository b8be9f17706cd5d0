using Vmm.Events.Buffers;

namespace Vmm.Events.Rings;

/// <summary>A few threads for calls that wait for a disk, and so end soon. Started when they are first needed.</summary>
internal sealed class FileWorkers(int threadsMax, Action<ThreadJob, int> ended) : IDisposable
{
    private readonly LinkedList<ThreadJob> _waiting = new();
    private readonly List<Thread> _threads = [];
    private int _idle;
    private bool _stopping;

    internal void Add(ThreadJob job)
    {
        lock (_waiting)
        {
            _waiting.AddLast(job.Place);
            if (_idle == 0 && _threads.Count < threadsMax) StartThread();
            Monitor.Pulse(_waiting);
        }
    }

    /// <summary>Ends an operation that has not started.</summary>
    internal bool TryCancel(ulong userData)
    {
        ThreadJob? found = null;
        lock (_waiting)
        {
            for (LinkedListNode<ThreadJob>? node = _waiting.First; node is not null; node = node.Next)
            {
                if (node.Value.Entry.UserData != userData) continue;
                found = node.Value;
                _waiting.Remove(node);
                break;
            }
        }
        if (found is null) return false;
        ended(found, -(int)Errno.Canceled);
        return true;
    }

    public void Dispose()
    {
        lock (_waiting)
        {
            _stopping = true;
            Monitor.PulseAll(_waiting);
        }
        foreach (Thread thread in _threads) thread.Join();
    }

    private void StartThread()
    {
        Thread thread = new(Work) { IsBackground = true, Name = "ring file worker" };
        _threads.Add(thread);
        thread.Start();
    }

    private void Work()
    {
        IoVectors single = new(1);
        while (Next() is { } job)
        {
            int result = job.Call(single, waits: true);
            while (result == -(int)Errno.Interrupted) result = job.Call(single, waits: true);
            ended(job, result);
        }
    }

    private ThreadJob? Next()
    {
        lock (_waiting)
        {
            _idle++;
            while (_waiting.Count == 0 && !_stopping) Monitor.Wait(_waiting);
            _idle--;
            if (_waiting.First is not { } first) return null;
            _waiting.RemoveFirst();
            return first.Value;
        }
    }
}
