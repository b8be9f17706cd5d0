using System.Diagnostics;
using System.Runtime.Intrinsics.X86;

namespace Vmm.Events;

/// <summary>
/// Adaptive polling: before the reactor blocks it looks for a while, in memory and at the descriptors, awake, so that other threads reach
/// it without a system call. A reactor that does not poll has none.
/// </summary>
internal sealed class Looking(Reactor reactor, IPoller poller, SlotTable slots, TimeSpan max)
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

    private readonly RemoteEndpoint _remote = reactor.Remote;
    private readonly ReadyEvent[] _seenInMemory = new ReadyEvent[1];
    /// <summary>Subscriptions that are asked.</summary>
    private Subscription[] _polled = [];
    private int _nextPolled;
    private int _turnsFromMemory;
    private long _start;

    /// <summary>How long it looks.</summary>
    internal AdaptivePolling Polling { get; } = new(max);

    /// <summary>Looks for events and calls.</summary>
    /// <returns>Whether there is something to do; if not, the reactor is to block and then to say so (<see cref="Blocked"/>).</returns>
    internal bool TryFind(int timeoutMs, out ReadOnlySpan<ReadyEvent> seen)
    {
        long end = 0;
        _start = 0;
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
            seen = intoMemory ? LookIntoMemory() : poller.Wait(0);
            bool found = seen.Length > 0 || _remote.HasCalls || reactor.HasWorkOrStops;
            if (!intoMemory) _turnsFromMemory = 0;
            else if (found) _turnsFromMemory += seen.Length > 0 ? TurnsOfCallsPerSource : 1;
            if (found) return true;
            // Not before some looks have failed: a caller that has its answer and calls again is found by those.
            if (look % LooksPerClock == 0 || Polling.Window == 0)
            {
                long now = Stopwatch.GetTimestamp();
                if (_start == 0) (_start, end) = (now, EndOfLooking(now, timeoutMs));
                if (now >= end) break;
            }
            // Leaves the core to its other hardware thread for a moment.
            if (look != yieldAt) X86Base.Pause();
            else Thread.Yield();
        }
        if (!StopLooking()) return false;
        seen = LookIntoMemory();
        return true;
    }

    /// <summary>The reactor has blocked because nothing was found.</summary>
    internal void Blocked() => Polling.Blocked(Stopwatch.GetTimestamp() - _start);

    /// <summary>A subscription is watched from now on.</summary>
    internal void Add(Subscription source)
    {
        if (source is not IPolledSource) return;
        source.IsPolled = true;
        _polled = [.. _polled, source];
    }

    internal void Remove(Subscription source)
    {
        if (!source.IsPolled) return;
        source.IsPolled = false;
        _polled = [.. _polled.Where(other => other != source)];
    }

    private long EndOfLooking(long start, int timeoutMs) =>
        start + Math.Min(Polling.Window, timeoutMs < 0 ? long.MaxValue : timeoutMs * (Stopwatch.Frequency / 1000));

    /// <summary>Asks each source in turn, and begins behind the one that had work last.</summary>
    private ReadOnlySpan<ReadyEvent> LookIntoMemory()
    {
        for (int i = 0; i < _polled.Length; i++)
        {
            if (_nextPolled >= _polled.Length) _nextPolled = 0;
            Subscription source = _polled[_nextPolled++];
            if (!((IPolledSource)source).HasWork) continue;
            _seenInMemory[0] = new ReadyEvent { Events = Interest.Readable.Bits, Data = ThinPointer.To(ref slots[source.SlotIndex]) };
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
}
