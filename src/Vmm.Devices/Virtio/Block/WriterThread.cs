using System.Diagnostics;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>A write that a thread makes while its reactor serves others.</summary>
internal interface IThreadedWrite
{
    /// <summary>Writes, and waits as long as that takes. On the thread.</summary>
    void Write(int file);

    /// <summary>It is done. On the reactor's thread.</summary>
    void Written();
}

/// <summary>
/// Makes the writes of one queue to a file system whose page cache can't be written without perhaps waiting, such as ext4. The
/// kernel's ring gives each of those to a worker of its own, which is woken and answers for one write at a time; here a turn's writes are
/// handed over together, and what was written in a while comes back with one wake-up.
/// </summary>
internal sealed class WriterThread : IDisposable
{
    private const int StackBytes = 256 << 10;

    /// <summary>What was written is reported no later than so long after the report before, while there is more to write.</summary>
    private static readonly TimeSpan ReportPeriod = TimeSpan.FromMicroseconds(50);

    private readonly object _lock = new();
    private readonly IReactor _reactor;
    private readonly Action _onBatch;
    private readonly Subscription<EventFd> _report;
    /// <summary>The thread's own: a reactor that ends before a write that hangs takes neither from under it.</summary>
    private readonly OwnedFd _file;
    private readonly EventFd _signal;
    private readonly Thread _thread;
    private bool _isIdle;
    private bool _isEnding;
    /// <summary>Of the turn, on the reactor's thread.</summary>
    private readonly List<IThreadedWrite> _gathered = [];
    /// <summary>Handed over, and written: under the lock.</summary>
    private List<IThreadedWrite> _given = [], _written = [];
    /// <summary>In work on the thread, and being reported on the reactor's.</summary>
    private List<IThreadedWrite> _taken = [], _reported = [];

    /// <summary>Starts the thread. On the reactor's.</summary>
    /// <param name="file">What is written to. It stays the caller's.</param>
    /// <param name="reactor">Where writes come back.</param>
    /// <param name="onBatch">Called on the reactor's thread after some did.</param>
    /// <exception cref="KernelException">There is no descriptor left.</exception>
    /// <exception cref="OutOfMemoryException">There may be no more threads.</exception>
    internal WriterThread(OwnedFd file, IReactor reactor, Action onBatch)
    {
        _file = file.Duplicate();
        _reactor = reactor;
        _onBatch = onBatch;
        _report = Interest.Kick.WithFd(new EventFd()).WithHandler(_ => Report()).RegisterInto(reactor);
        _signal = _report.Fd.Duplicate();
        _thread = new Thread(Serve, StackBytes) { IsBackground = true, Name = "buffered writes" };
        try
        {
            _thread.Start();
        }
        catch
        {
            Close();
            throw;
        }
    }

    /// <summary>Takes a write, which begins with <see cref="Submit"/>.</summary>
    internal void Add(IThreadedWrite write) => _gathered.Add(write);

    /// <summary>Hands over what was gathered.</summary>
    internal void Submit()
    {
        if (_gathered.Count == 0) return;
        lock (_lock)
        {
            _given.AddRange(_gathered);
            if (_isIdle) Monitor.Pulse(_lock);
            _isIdle = false;
        }
        _gathered.Clear();
    }

    /// <summary>Ends the thread. No write may be in flight.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _isEnding = true;
            Monitor.Pulse(_lock);
        }
        _thread.Join();
        Close();
    }

    private void Close()
    {
        _reactor.Remove(_report);
        _signal.Dispose();
        _file.Dispose();
    }

    private void Report()
    {
        lock (_lock) (_written, _reported) = (_reported, _written);
        if (_reported.Count == 0) return;
        foreach (IThreadedWrite write in _reported) write.Written();
        _reported.Clear();
        _onBatch();
    }

    private void Serve()
    {
        while (TakeGiven())
        {
            long reported = Stopwatch.GetTimestamp();
            int posted = 0;
            for (int i = 0; i < _taken.Count; i++)
            {
                _taken[i].Write(_file.Number);
                bool isLast = i == _taken.Count - 1;
                if (!isLast && Stopwatch.GetElapsedTime(reported) < ReportPeriod) continue;
                bool isFirst;
                lock (_lock)
                {
                    isFirst = _written.Count == 0;
                    for (; posted <= i; posted++) _written.Add(_taken[posted]);
                }
                if (isFirst) _signal.Signal();
                reported = Stopwatch.GetTimestamp();
            }
            _taken.Clear();
        }
    }

    /// <summary>Waits for writes.</summary>
    /// <returns>False if none come any more.</returns>
    private bool TakeGiven()
    {
        lock (_lock)
        {
            while (_given.Count == 0)
            {
                if (_isEnding) return false;
                _isIdle = true;
                Monitor.Wait(_lock);
            }
            _isIdle = false;
            (_given, _taken) = (_taken, _given);
            return true;
        }
    }
}
