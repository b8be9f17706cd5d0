using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;

namespace Vmm.Events.Tasks;

/// <summary>One task's place among the delays.</summary>
internal sealed class DelayEntry(DelayQueue queue, TaskCell cell) : ITaskWait
{
    internal const int NotQueued = -1;

    internal TaskCell Cell => cell;

    /// <summary>When it is due, in ticks of <see cref="Stopwatch"/>.</summary>
    internal long DueAt { get; set; }

    /// <summary>Its place in the heap.</summary>
    internal int Index { get; set; } = NotQueued;

    public bool GiveUp(TaskCell ofCell)
    {
        if (Index == NotQueued) return false;
        queue.Remove(this);
        return true;
    }
}

/// <summary>The delays of a reactor's tasks: a heap ordered by time, over one timer of the kernel.</summary>
[SuppressMessage("Design", "CA1001:Types that own disposable fields should be disposable", Justification = "The reactor watches the timer and closes it.")]
internal sealed class DelayQueue
{
    private readonly ReactorTasks _tasks;
    private readonly Reactor _reactor;
    private DelayEntry[] _heap = new DelayEntry[16];
    private int _count;
    private TimerFd? _timer;
    private long _armedFor = long.MaxValue;

    internal DelayQueue(ReactorTasks tasks, Reactor reactor)
    {
        _tasks = tasks;
        _reactor = reactor;
    }

    internal DelayEntry Add(TaskCell cell, TimeSpan delay)
    {
        DelayEntry entry = cell.Delay ??= new DelayEntry(this, cell);
        entry.DueAt = Stopwatch.GetTimestamp() + (long)(delay.TotalSeconds * Stopwatch.Frequency);
        if (_count == _heap.Length) Array.Resize(ref _heap, _count * 2);
        Place(entry, _count++);
        SiftUp(entry);
        Arm();
        return entry;
    }

    internal void Remove(DelayEntry entry)
    {
        int index = entry.Index;
        entry.Index = DelayEntry.NotQueued;
        DelayEntry last = _heap[--_count];
        _heap[_count] = null!;
        if (last == entry) return;
        Place(last, index);
        SiftDown(last);
        SiftUp(last);
    }

    private void Expired()
    {
        _timer!.TryRead(out _);
        _armedFor = long.MaxValue;
        long now = Stopwatch.GetTimestamp();
        while (_count > 0 && _heap[0].DueAt <= now)
        {
            DelayEntry due = _heap[0];
            Remove(due);
            _tasks.Ready(due.Cell);
        }
        Arm();
    }

    /// <summary>Sets the timer for the earliest delay. One that is set too early only looks and sets it again.</summary>
    private void Arm()
    {
        if (_count == 0 || _heap[0].DueAt >= _armedFor) return;
        if (_timer is null)
        {
            _timer = new TimerFd();
            _reactor.Add(Interest.Readable.WithFd(_timer).WithHandler(_ => Expired()));
        }
        _armedFor = _heap[0].DueAt;
        _timer.Arm(Stopwatch.GetElapsedTime(Stopwatch.GetTimestamp(), _armedFor));
    }

    private void SiftUp(DelayEntry entry)
    {
        int index = entry.Index;
        while (index > 0 && _heap[(index - 1) / 2].DueAt > entry.DueAt)
        {
            Place(_heap[(index - 1) / 2], index);
            index = (index - 1) / 2;
        }
        Place(entry, index);
    }

    private void SiftDown(DelayEntry entry)
    {
        int index = entry.Index;
        while (true)
        {
            int child = 2 * index + 1;
            if (child + 1 < _count && _heap[child + 1].DueAt < _heap[child].DueAt) child++;
            if (child >= _count || _heap[child].DueAt >= entry.DueAt) break;
            Place(_heap[child], index);
            index = child;
        }
        Place(entry, index);
    }

    private void Place(DelayEntry entry, int index)
    {
        _heap[index] = entry;
        entry.Index = index;
    }
}
