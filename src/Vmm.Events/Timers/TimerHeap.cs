namespace Vmm.Events;

/// <summary>Armed timers, the first that is due in front. Each knows its place, so any can be taken out or moved in O(log n).</summary>
internal sealed class TimerHeap
{
    private Entry[] _timers = new Entry[16];

    internal int Count { get; private set; }

    internal ReactorTimer? First => Count == 0 ? null : _timers[0].Timer;

    internal void Add(ReactorTimer timer)
    {
        if (Count == _timers.Length) Array.Resize(ref _timers, Count * 2);
        Place(timer, Count++);
        Rise(timer);
    }

    internal void Remove(ReactorTimer timer)
    {
        int hole = timer.HeapIndex;
        timer.HeapIndex = -1;
        ReactorTimer last = _timers[--Count].Timer;
        _timers[Count] = default;
        if (last == timer) return;
        Place(last, hole);
        Reorder(last);
    }

    /// <summary>Puts a timer where its time, which has changed, belongs.</summary>
    internal void Reorder(ReactorTimer timer)
    {
        Rise(timer);
        Sink(timer);
    }

    private void Rise(ReactorTimer timer)
    {
        while (timer.HeapIndex > 0)
        {
            int index = timer.HeapIndex;
            ReactorTimer parent = _timers[(index - 1) / 2].Timer;
            if (!IsBefore(timer, parent)) return;
            Place(timer, parent.HeapIndex);
            Place(parent, index);
        }
    }

    private void Sink(ReactorTimer timer)
    {
        for (int child = 2 * timer.HeapIndex + 1; child < Count; child = 2 * timer.HeapIndex + 1)
        {
            int index = timer.HeapIndex;
            if (child + 1 < Count && IsBefore(_timers[child + 1].Timer, _timers[child].Timer)) child++;
            ReactorTimer first = _timers[child].Timer;
            if (!IsBefore(first, timer)) return;
            Place(timer, child);
            Place(first, index);
        }
    }

    private void Place(ReactorTimer timer, int index)
    {
        _timers[index].Timer = timer;
        timer.HeapIndex = index;
    }

    private static bool IsBefore(ReactorTimer left, ReactorTimer right) =>
        left.DueAt != right.DueAt ? left.DueAt < right.DueAt : left.Sequence < right.Sequence;

    /// <summary>
    /// A struct: a store into an array of an open class has the runtime look up whether it may, in a cache that now and then grows.
    /// </summary>
    private struct Entry
    {
        internal ReactorTimer Timer;
    }
}
