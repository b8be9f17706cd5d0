using System.Diagnostics;
using System.Runtime.Intrinsics.X86;
using Vmm.Events.Native;

namespace Vmm.Events;

// Adaptive polling: before the reactor blocks it looks for a while, in memory and at the descriptors.
public sealed partial class Reactor
{
    /// <summary>
    /// Looks into memory for each look at the descriptors, which costs a system call: where sources are in memory, or the last turn came
    /// from there.
    /// </summary>
    private const int LooksPerWait = 128;

    /// <summary>The same where nothing came from memory.</summary>
    private const int LooksPerWaitForCalls = 16;

    /// <summary>Looks for each look at the clock.</summary>
    private const int LooksPerClock = 8;

    /// <summary>
    /// Looks before the processor is offered to other threads, once: what the reactor waits for may need this very processor, and would
    /// get it only when the window ends.
    /// </summary>
    private const int LooksBeforeYield = 60;

    /// <summary>
    /// Turns of calls alone that may come from memory before the descriptors have theirs: a queue that is never empty does not keep them
    /// waiting. A turn of a source, which may be long, counts as several.
    /// </summary>
    private const int TurnsFromMemoryMax = 32;

    private const int TurnsOfCallsPerSource = 4;

    private readonly ReadyEvent[] _seenInMemory = new ReadyEvent[1];
    /// <summary>Subscriptions that are asked; none without adaptive polling.</summary>
    private Subscription[] _polled = [];
    private int _nextPolled;
    private int _turnsFromMemory;

    /// <summary>Looks for events and calls, awake, so that other threads reach it without a system call; then blocks.</summary>
    private ReadOnlySpan<ReadyEvent> LookThenWait(int timeoutMs, AdaptivePolling polling)
    {
        long start = 0, end = 0;
        int looksPerWait = _polled.Length > 0 || _turnsFromMemory > 0 ? LooksPerWait : LooksPerWaitForCalls;
        int look = _turnsFromMemory < TurnsFromMemoryMax ? 1 : 0, yieldAt = LooksBeforeYield;
        if (_remote.WaiterNeedsThisCpu)
        {
            _remote.WaiterNeedsThisCpu = false;
            yieldAt = look;
        }
        for (; ; look++)
        {
            bool intoMemory = look % looksPerWait != 0;
            ReadOnlySpan<ReadyEvent> seen = intoMemory ? LookIntoMemory() : _poller.Wait(0);
            bool found = seen.Length > 0 || _remote.HasCalls || _turnWorkDue || _stopRequested;
            if (!intoMemory) _turnsFromMemory = 0;
            else if (found) _turnsFromMemory += seen.Length > 0 ? TurnsOfCallsPerSource : 1;
            if (found) return seen;
            // Not before some looks have failed: a caller that has its answer and calls again is found by those.
            if (look % LooksPerClock == 0 || polling.Window == 0)
            {
                long now = Stopwatch.GetTimestamp();
                if (start == 0) (start, end) = (now, EndOfLooking(now, timeoutMs, polling));
                if (now >= end) break;
            }
            // Leaves the core to its other hardware thread for a moment.
            if (look != yieldAt) X86Base.Pause();
            else Thread.Yield();
        }
        if (StopLooking()) return LookIntoMemory();
        ReadOnlySpan<ReadyEvent> batch = Block(timeoutMs);
        polling.Blocked(Stopwatch.GetTimestamp() - start);
        return batch;
    }

    private static long EndOfLooking(long start, int timeoutMs, AdaptivePolling polling) =>
        start + Math.Min(polling.Window, timeoutMs < 0 ? long.MaxValue : timeoutMs * (Stopwatch.Frequency / 1000));

    /// <summary>Asks each source in turn, and begins behind the one that had work last.</summary>
    private ReadOnlySpan<ReadyEvent> LookIntoMemory()
    {
        for (int i = 0; i < _polled.Length; i++)
        {
            if (_nextPolled >= _polled.Length) _nextPolled = 0;
            Subscription source = _polled[_nextPolled++];
            if (!((IPolledSource)source).HasWork) continue;
            _seenInMemory[0] = new ReadyEvent { Events = Interest.Readable.Bits, Data = ThinPointer.To(ref _slots[source.SlotIndex]) };
            return _seenInMemory;
        }
        return default;
    }

    /// <summary>From now on the descriptors have to be signalled.</summary>
    /// <returns>Whether a source has work already, for which its descriptor will not be signalled.</returns>
    private bool StopLooking()
    {
        bool work = false;
        foreach (Subscription source in _polled) work |= ((IPolledSource)source).StopLooking();
        return work;
    }

    private void LookAt(Subscription source)
    {
        if (_polling is null || source is not IPolledSource) return;
        source.IsPolled = true;
        _polled = [.. _polled, source];
    }

    private void LookAway(Subscription source)
    {
        if (!source.IsPolled) return;
        source.IsPolled = false;
        _polled = [.. _polled.Where(other => other != source)];
    }
}
