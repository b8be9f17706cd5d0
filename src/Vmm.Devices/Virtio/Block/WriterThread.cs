using System.Diagnostics;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>A write that a thread makes while its reactor serves others.</summary>
internal interface IThreadedWrite
{
    /// <summary>The one behind it in a list; of the list's owner.</summary>
    IThreadedWrite? Next { get; set; }

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

    private static readonly TimeSpan Long = TimeSpan.FromDays(1);

    /// <summary>What was written is reported no later than so long after the report before, while there is more to write.</summary>
    private static readonly TimeSpan ReportPeriod = TimeSpan.FromMicroseconds(50);

    private readonly RemoteEndpoint _remote;
    private readonly Action _onBatch;
    private readonly ReportCall _report;
    /// <summary>The thread's own: a reactor that ends before a write that hangs takes none from under it.</summary>
    private readonly OwnedFd _file;
    private readonly EventFd _wake = new();
    private readonly Thread _thread;
    private volatile bool _isEnding;
    /// <summary>1 while the thread sleeps, or is about to.</summary>
    private int _isIdle;
    /// <summary>
    /// Handed over, and written: lists with the newest first, pushed to and taken whole. No lock: one that waits allocates.
    /// </summary>
    private IThreadedWrite? _given, _written;
    /// <summary>Of the turn, on the reactor's thread.</summary>
    private IThreadedWrite? _newest, _oldest;

    /// <summary>Starts the thread. On any thread: the reactor's own should not wait for that.</summary>
    /// <param name="file">What is written to. It stays the caller's.</param>
    /// <param name="remote">The reactor where writes come back.</param>
    /// <param name="onBatch">Called on the reactor's thread after some did.</param>
    /// <exception cref="KernelException">There is no descriptor left.</exception>
    /// <exception cref="OutOfMemoryException">There may be no more threads.</exception>
    internal WriterThread(OwnedFd file, RemoteEndpoint remote, Action onBatch)
    {
        _remote = remote;
        _onBatch = onBatch;
        _report = new ReportCall(this);
        _file = file.Duplicate();
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
    internal void Add(IThreadedWrite write)
    {
        write.Next = _newest;
        _newest = write;
        _oldest ??= write;
    }

    /// <summary>Hands over what was added.</summary>
    internal void Submit()
    {
        if (_newest is null) return;
        Push(ref _given, _newest, _oldest!);
        (_newest, _oldest) = (null, null);
        if (Interlocked.Exchange(ref _isIdle, 0) != 0) _wake.Signal();
    }

    /// <summary>Ends the thread. No write may be in flight.</summary>
    public void Dispose()
    {
        _isEnding = true;
        _wake.Signal();
        _thread.Join();
        Close();
    }

    private void Close()
    {
        _wake.Dispose();
        _file.Dispose();
    }

    private void Report()
    {
        IThreadedWrite? next = TakeInOrder(ref _written);
        if (next is null) return;
        while (next is { } write)
        {
            // It may be added again at once.
            next = write.Next;
            write.Written();
        }
        _onBatch();
    }

    private void Serve()
    {
        while (true)
        {
            if (TakeInOrder(ref _given) is { } first) Write(first);
            else if (_isEnding) return;
            else Sleep();
        }
    }

    private void Write(IThreadedWrite first)
    {
        long reported = Stopwatch.GetTimestamp();
        IThreadedWrite? newest = null, oldest = null;
        for (IThreadedWrite? next = first; next is { } write;)
        {
            next = write.Next;
            write.Write(_file.Number);
            write.Next = newest;
            newest = write;
            oldest ??= write;
            if (next is not null && Stopwatch.GetElapsedTime(reported) < ReportPeriod) continue;
            if (Push(ref _written, newest, oldest)) _ = _remote.TryPost(_report);
            (newest, oldest) = (null, null);
            reported = Stopwatch.GetTimestamp();
        }
    }

    private void Sleep()
    {
        // What is handed over from here on signals; what was before is seen.
        Interlocked.Exchange(ref _isIdle, 1);
        if (Volatile.Read(ref _given) is null && !_isEnding) StreamSocket.WaitReadable(_wake.Number, Long);
        Interlocked.Exchange(ref _isIdle, 0);
        _wake.TryRead(out _);
    }

    /// <summary>Puts a list before another.</summary>
    /// <returns>Whether that was empty.</returns>
    private static bool Push(ref IThreadedWrite? list, IThreadedWrite newest, IThreadedWrite oldest)
    {
        while (true)
        {
            IThreadedWrite? before = Volatile.Read(ref list);
            oldest.Next = before;
            if (Interlocked.CompareExchange(ref list, newest, before) == before) return before is null;
        }
    }

    private static IThreadedWrite? TakeInOrder(ref IThreadedWrite? list)
    {
        IThreadedWrite? first = null;
        for (IThreadedWrite? next = Interlocked.Exchange(ref list, null); next is { } write;)
        {
            next = write.Next;
            write.Next = first;
            first = write;
        }
        return first;
    }

    private sealed class ReportCall(WriterThread writer) : RemoteCall
    {
        protected override void Run(IReactor reactor) => writer.Report();
    }
}
