using System.Numerics;

namespace Vmm.Events;

/// <summary>What a simulation did so far.</summary>
internal readonly record struct SimulationCounts(long Shuffled, long Delayed, long Split, long Merged, long Duplicated, long Interrupted);

/// <summary>
/// Stands between a reactor and its poller and does to the events what a <see cref="EventSimulation"/> says. It holds some of them back;
/// while it does, no wait blocks. What it holds of a descriptor goes when that is modified or removed, as the kernel looks again then.
/// </summary>
internal sealed class SimulationPoller(IPoller inner, EventSimulation simulation, ManualClock? clock) : IPoller
{
    /// <summary>Beyond these no more are held back.</summary>
    private const int HeldMax = 4096;

    private readonly Random _random = new(simulation.Seed);
    private readonly List<Held> _held = [];
    private readonly List<ReadyEvent> _batch = [];

    public PollerKind Kind => inner.Kind;

    /// <summary>Milliseconds of the virtual clock, or of the real one if there is none.</summary>
    public long NowMs => clock is null ? inner.NowMs : (long)clock.GetElapsedTime(0).TotalMilliseconds;

    internal SimulationCounts Counts { get; private set; }

    public Errno Add(int fd, uint bits, ulong data) => inner.Add(fd, bits, data);

    public Errno Modify(int fd, uint bits, ulong data)
    {
        Forget(data);
        return inner.Modify(fd, bits, data);
    }

    public Errno Remove(int fd, ulong data)
    {
        Forget(data);
        return inner.Remove(fd, data);
    }

    public ReadOnlySpan<ReadyEvent> Wait(int timeoutMs)
    {
        if (Happens(simulation.InterruptChance))
        {
            Counts = Counts with { Interrupted = Counts.Interrupted + 1 };
            return default;
        }
        _batch.Clear();
        ReadOnlySpan<ReadyEvent> fresh = _held.Count > 0 ? inner.Wait(0) : WaitInTime(timeoutMs);
        ReleaseHeld();
        foreach (ReadyEvent ready in fresh) Report(ready);
        if (_batch.Count > 1 && Happens(simulation.SplitChance)) CutBatch();
        if (_batch.Count > 1 && Happens(simulation.ShuffleChance))
        {
            Counts = Counts with { Shuffled = Counts.Shuffled + 1 };
            _random.Shuffle(CollectionsMarshal.AsSpan(_batch));
        }
        return CollectionsMarshal.AsSpan(_batch);
    }

    public void Rebuild()
    {
        _held.Clear();
        inner.Rebuild();
    }

    public void OwnerLeaves() => inner.OwnerLeaves();

    public void Dispose() => inner.Dispose();

    /// <summary>On virtual time no thread waits for a timer: the clock advances to it, or to the end of the wait.</summary>
    private ReadOnlySpan<ReadyEvent> WaitInTime(int timeoutMs)
    {
        if (clock is null || timeoutMs == 0) return inner.Wait(timeoutMs);
        ReadOnlySpan<ReadyEvent> now = inner.Wait(0);
        if (now.Length > 0) return now;
        TimeSpan? untilTimer = clock.UntilNextTimer;
        if (untilTimer is null && timeoutMs < 0) return inner.Wait(timeoutMs);
        TimeSpan step = timeoutMs < 0 ? TimeSpan.MaxValue : TimeSpan.FromMilliseconds(timeoutMs);
        clock.Advance(untilTimer < step ? untilTimer.Value : step);
        return inner.Wait(0);
    }

    private void ReleaseHeld()
    {
        int kept = 0;
        for (int i = 0; i < _held.Count; i++)
        {
            Held held = _held[i];
            if (held.WaitsLeft > 1) _held[kept++] = held with { WaitsLeft = held.WaitsLeft - 1 };
            else _batch.Add(held.Event);
        }
        _held.RemoveRange(kept, _held.Count - kept);
    }

    private void Report(ReadyEvent ready)
    {
        ready.Events |= TakeHeld(ready.Data);
        if (BitOperations.PopCount(ready.Events) > 1 && !IsOneShot(ready) && Happens(simulation.SplitChance)) SplitBits(ref ready);
        if (Happens(simulation.DelayChance) && Hold(ready))
        {
            Counts = Counts with { Delayed = Counts.Delayed + 1 };
            return;
        }
        _batch.Add(ready);
        if (IsOneShot(ready) || !Happens(simulation.DuplicateChance)) return;
        Counts = Counts with { Duplicated = Counts.Duplicated + 1 };
        if (_random.Next(2) == 0 || !Hold(ready)) _batch.Add(ready);
    }

    /// <summary>The lowest bit comes now, the others later.</summary>
    private void SplitBits(ref ReadyEvent ready)
    {
        uint first = ready.Events & (~ready.Events + 1);
        if (!Hold(ready with { Events = ready.Events & ~first })) return;
        ready.Events = first;
        Counts = Counts with { Split = Counts.Split + 1 };
    }

    /// <summary>The end of the batch comes with a later wait.</summary>
    private void CutBatch()
    {
        int length = _random.Next(1, _batch.Count);
        while (_batch.Count > length && Hold(_batch[^1])) _batch.RemoveAt(_batch.Count - 1);
        Counts = Counts with { Split = Counts.Split + 1 };
    }

    private bool Hold(ReadyEvent ready)
    {
        if (_held.Count == HeldMax) return false;
        _held.Add(new Held(ready, _random.Next(1, simulation.DelayWaitsMax + 1)));
        return true;
    }

    private uint TakeHeld(ulong data)
    {
        uint events = 0;
        foreach (Held held in _held)
        {
            if (held.Event.Data == data) events |= held.Event.Events;
        }
        if (events != 0) Counts = Counts with { Merged = Counts.Merged + _held.RemoveAll(held => held.Event.Data == data) };
        return events;
    }

    private void Forget(ulong data) => _held.RemoveAll(held => held.Event.Data == data);

    private bool Happens(double chance) => chance > 0 && _random.NextDouble() < chance;

    private static bool IsOneShot(in ReadyEvent ready) => (ThinPointer.Resolve(ready.Data).Bits & Interest.OneShotMask) != 0;

    private readonly record struct Held(ReadyEvent Event, int WaitsLeft);
}
