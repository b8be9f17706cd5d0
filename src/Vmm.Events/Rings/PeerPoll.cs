using Vmm.Events.Buffers;

namespace Vmm.Events.Rings;

/// <summary>
/// One thread for calls that wait for a peer or for time: it polls their descriptors and makes the call, without waiting, when one is
/// ready. Any number of operations, each of which can be cancelled at any time.
/// </summary>
internal sealed class PeerPoll(Action<ThreadJob, int> ended) : IDisposable
{
    /// <summary>Between two attempts to connect to a Unix socket whose backlog is full: no event says that there is room.</summary>
    private const int RetryMs = 5;

    private readonly List<Wait> _waits = [];
    private readonly List<ThreadJob> _added = [];
    private readonly List<ulong> _cancelled = [];
    private readonly List<(Wait Wait, int Result)> _over = [];
    private readonly EventFd _wake = new();
    private readonly IoVectors _single = new(1);
    private PollFd[] _entries = new PollFd[16];
    private Thread? _thread;
    private bool _stopping;

    internal void Add(ThreadJob job)
    {
        lock (_added)
        {
            if (_thread is null)
            {
                Thread thread = new(Loop) { IsBackground = true, Name = "ring peer poll" };
                thread.Start();
                _thread = thread;
            }
            _added.Add(job);
        }
        _wake.Signal();
    }

    /// <summary>Ends an operation before its peer is ready. One that is not here is over.</summary>
    internal bool TryCancel(ulong userData)
    {
        lock (_added)
        {
            if (_thread is null) return false;
            _cancelled.Add(userData);
        }
        _wake.Signal();
        return true;
    }

    /// <summary>The same at once, on the polling thread.</summary>
    /// <returns>Whether it was here.</returns>
    internal bool TryCancelHere(ulong userData)
    {
        int index = IndexOf(userData);
        if (index < 0) return false;
        End(index, -(int)Errno.Canceled);
        return true;
    }

    public void Dispose()
    {
        lock (_added) _stopping = true;
        _wake.Signal();
        _thread?.Join();
        _wake.Dispose();
    }

    private void Loop()
    {
        while (Admit())
        {
            int timeoutMs = FillEntries();
            Libc.Poll(_entries.AsSpan(0, _waits.Count + 1), timeoutMs);
            _wake.TryRead(out _);
            long nowMs = Environment.TickCount64;
            // Backwards: what ends is taken out.
            for (int i = _waits.Count - 1; i >= 0; i--)
            {
                Wait wait = _waits[i];
                if (wait.Look(_entries[i].Ready, nowMs, _single) is not { } result) continue;
                _waits.RemoveAt(i);
                _over.Add((wait, result));
            }
            // Oldest first: an operation before the time limit behind it, if both are over.
            for (int i = _over.Count - 1; i >= 0; i--) End(_over[i].Wait, _over[i].Result);
            _over.Clear();
        }
    }

    /// <summary>Takes in what is new and ends what was cancelled; what was cancelled and is not here is over.</summary>
    private bool Admit()
    {
        ulong[] cancelled;
        lock (_added)
        {
            if (_stopping) return false;
            foreach (ThreadJob job in _added)
            {
                // A time limit whose operation was quicker than its arrival here.
                if (!job.IsClaimed) _waits.Add(new Wait(job));
            }
            _added.Clear();
            cancelled = [.. _cancelled];
            _cancelled.Clear();
        }
        foreach (ulong userData in cancelled)
        {
            int index = IndexOf(userData);
            // A time limit goes with its operation, not before, as in the kernel's ring.
            if (index >= 0 && (!_waits[index].Job.IsTimeLimit || _waits[index].Job.IsClaimed)) End(index, -(int)Errno.Canceled);
        }
        return true;
    }

    private int FillEntries()
    {
        if (_entries.Length <= _waits.Count) Array.Resize(ref _entries, _waits.Count * 2);
        long nowMs = Environment.TickCount64;
        long nextMs = long.MaxValue;
        for (int i = 0; i < _waits.Count; i++)
        {
            _entries[i] = _waits[i].PollEntry;
            nextMs = Math.Min(nextMs, _waits[i].IsRefused ? nowMs + RetryMs : _waits[i].Job.DueMs);
        }
        _entries[_waits.Count] = new PollFd { Fd = _wake.Number, Events = Libc.POLLIN };
        return nextMs == long.MaxValue ? -1 : (int)Math.Clamp(nextMs - nowMs, 0, int.MaxValue);
    }

    private int IndexOf(ulong userData) => _waits.FindIndex(wait => wait.Job.Entry.UserData == userData);

    private void End(int index, int result)
    {
        Wait over = _waits[index];
        _waits.RemoveAt(index);
        End(over, result);
    }

    private void End(Wait over, int result)
    {
        over.Restore();
        ended(over.Job, result);
    }

    /// <summary>One operation and what it waits for.</summary>
    private sealed class Wait
    {
        private readonly bool _isNonBlocking;
        private bool _waitsForOutput;
        private bool _connecting;
        private bool _madeNonBlocking;

        internal Wait(ThreadJob job)
        {
            Job = job;
            if (job.IsTimeLimit) return;
            if (job.Entry.Op == IoUringOp.Timeout)
            {
                job.Arm();
                return;
            }
            _isNonBlocking = (Libc.Fcntl(job.Entry.Fd, Libc.F_GETFL, 0) & Libc.O_NONBLOCK) != 0 && job.Entry.Op != IoUringOp.PollAdd;
            _waitsForOutput =
                job.Entry.Op is IoUringOp.Write or IoUringOp.WriteV or IoUringOp.Send or IoUringOp.SendMsg or IoUringOp.Connect;
        }

        internal ThreadJob Job { get; }

        /// <summary>Whether it connects, and there was no room in its peer's backlog.</summary>
        internal bool IsRefused { get; private set; }

        internal PollFd PollEntry
        {
            get
            {
                ref IoUringEntry entry = ref Job.Entry;
                return entry.Op switch
                {
                    IoUringOp.Timeout or IoUringOp.LinkTimeout => new PollFd { Fd = -1 },
                    // poll(2) reports a hang-up of a socket that is not connected, at once and again and again.
                    IoUringOp.Connect when IsRefused => new PollFd { Fd = -1 },
                    IoUringOp.PollAdd => new PollFd { Fd = entry.Fd, Events = (short)entry.OpFlags },
                    IoUringOp.Splice when !_waitsForOutput => new PollFd { Fd = entry.FileIndex, Events = Libc.POLLIN },
                    _ => new PollFd
                    {
                        Fd = entry.Fd,
                        Events = _waitsForOutput || entry.Op == IoUringOp.Splice
                        ? Libc.POLLOUT : Libc.POLLIN
                    },
                };
            }
        }

        /// <summary>Makes the call if its descriptor is ready.</summary>
        /// <returns>Its result; null if it goes on waiting.</returns>
        internal int? Look(short ready, long nowMs, IoVectors single)
        {
            switch (Job.Entry.Op)
            {
                case IoUringOp.Timeout or IoUringOp.LinkTimeout:
                    return nowMs >= Job.DueMs ? -(int)Errno.TimerExpired : null;
                case IoUringOp.PollAdd:
                    return ready != 0 ? ready : null;
                case IoUringOp.Connect:
                    return Connect(ready);
                case IoUringOp.Splice when ready != 0 && !_waitsForOutput:
                    _waitsForOutput = true;
                    return null;
            }
            if (ready == 0 && !_isNonBlocking) return null;
            int result = Job.Call(single, waits: false);
            // A file that knows no call without waiting: poll says that this one will not wait.
            if (result == -(int)Errno.NotSupported && ready != 0) result = Job.Call(single, waits: true);
            if (result == -(int)Errno.Interrupted) return null;
            if (result != -(int)Errno.Again || _isNonBlocking) return result;
            if (Job.Entry.Op == IoUringOp.Splice) _waitsForOutput = false;
            return null;
        }

        /// <summary>Gives the socket back its mode.</summary>
        internal void Restore()
        {
            if (_madeNonBlocking) _ = Libc.Fcntl(Job.Entry.Fd, Libc.F_SETFL, Libc.Fcntl(Job.Entry.Fd, Libc.F_GETFL, 0) & ~Libc.O_NONBLOCK);
        }

        /// <summary>A blocking connect cannot be ended early, so it is made without blocking and polled.</summary>
        private int? Connect(short ready)
        {
            int fd = Job.Entry.Fd;
            if (_connecting) return ready == 0 ? null : -(int)Libc.SocketError(fd);
            int flags = Libc.Fcntl(fd, Libc.F_GETFL, 0);
            if (flags >= 0 && (flags & Libc.O_NONBLOCK) == 0) _madeNonBlocking = Libc.Fcntl(fd, Libc.F_SETFL, flags | Libc.O_NONBLOCK) == 0;
            if (Libc.Connect(fd, (nint)Job.Entry.Address, (uint)Job.Entry.Offset) == 0) return 0;
            int error = (int)Libc.LastError;
            IsRefused = error == (int)Errno.Again && !_isNonBlocking;
            if (IsRefused) return null;
            if (error != Libc.EINPROGRESS || _isNonBlocking) return -error;
            _connecting = true;
            return null;
        }
    }
}
