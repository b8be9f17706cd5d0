using System.Diagnostics;
using System.Runtime.CompilerServices;
using Vmm.Events.Native;

namespace Vmm.Events.Rings;

public sealed partial class IoRing
{
    /// <summary>User data of a cancellation, whose own result is not used.</summary>
    private const ulong CancellationTag = ulong.MaxValue;

    private const int NoChain = -1;

    /// <summary>Most completions delivered before tasks and descriptors get their turn.</summary>
    private const int CompletionsPerRoundMax = 1024;

    /// <summary>How long the end of a ring waits for the kernel before it says that something hangs. It goes on waiting.</summary>
    private const int DrainReportMs = 10_000;

    private Place[] _places = new Place[64];
    private int[] _freeSlots = [.. Enumerable.Range(0, 64).Reverse()];
    private int _freeSlotCount = 64;
    private RingRequest? _firstHeld;
    private RingRequest? _lastHeld;
    private long _operations;
    private long _completions;
    private long _heldCount;
    private readonly List<RingRequest> _cancelling = [];
    private int _chainLength = NoChain;
    private bool _draining;

    /// <summary>Hands over now what was begun, instead of at the end of the turn.</summary>
    public void Flush()
    {
        CheckUsable();
        if (_chainLength < 0) HandOver();
        _engine.Submit();
        _turn.Request();
    }

    /// <summary>Opens a chain: what is begun until it is disposed runs one after the other.</summary>
    /// <exception cref="InvalidOperationException">A chain is open.</exception>
    public RingChain Chain()
    {
        CheckUsable();
        if (_chainLength >= 0) throw new InvalidOperationException("a chain is open: dispose it first");
        _chainLength = 0;
        return new RingChain(this);
    }

    internal void EndChain()
    {
        if (_chainLength > 0) _lastHeld!.Entry.Flags &= ~IoUringEntryFlags.Link;
        _chainLength = NoChain;
    }

    /// <summary>
    /// Asks for an operation to end early. It completes in any case, later and once: with its result, or with <see cref="Errno.Canceled"/>
    /// (some calls say <see cref="Errno.Interrupted"/>).
    /// </summary>
    /// <returns>False if it is not in flight.</returns>
    public bool Cancel(RingRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        CheckUsable();
        if (!request.IsInFlight) return false;
        if (request.CancelWanted) return true;
        request.CancelWanted = true;
        _cancelling.Add(request);
        _turn.Request();
        return true;
    }

    /// <summary>Begins an operation whose entry is filled in.</summary>
    private void Begin(RingRequest request, RingFile? file)
    {
        CheckBeginnable(request);
        BeginChecked(request, file);
    }

    private void BeginChecked(RingRequest request, RingFile? file)
    {
        if (_chainLength >= 0)
        {
            _chainLength++;
            request.Entry.Flags |= IoUringEntryFlags.Link;
        }
        file?.Begin(ref request.Entry);
        request.File = file;
        Enqueue(request);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void CheckBeginnable(RingRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        CheckUsable();
        if (request.IsInFlight) throw new InvalidOperationException("the operation is in flight: begin it again when it has completed");
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Enqueue(RingRequest request)
    {
        _operations++;
        InFlight++;
        if (_firstHeld is null && CanHandOver()
            && (request.Entry.Flags & IoUringEntryFlags.Link) == 0)
        {
            Prepare(request);
        }
        else
        {
            request.Slot = RingRequest.Held;
            request.NextHeld = null;
            if (_lastHeld is null) _firstHeld = request; else _lastHeld.NextHeld = request;
            _lastHeld = request;
            _heldCount++;
        }
        _turn.Request();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Prepare(RingRequest request)
    {
        if (_freeSlotCount == 0) Grow();
        int slot = _freeSlots[--_freeSlotCount];
        ref Place place = ref _places[slot];
        place.Request = request;
        request.Slot = slot;
        request.Entry.UserData = (ulong)place.Generation << 32 | (uint)slot;
        _engine.Prepare(request.Entry);
    }

    /// <summary>One round: hand over, submit, deliver.</summary>
    private int RunTurn()
    {
        _engine.SetSignalling(false);
        HandOver();
        _engine.Submit();
        int delivered = Deliver(CompletionsPerRoundMax);
        if (_disposed) return delivered;
        if ((_firstHeld is not null || _cancelling.Count > 0) && CanHandOver()) _turn.Request();
        _engine.SetSignalling(true);
        // Completions that arrived while the signal was off.
        if (_engine.HasWork) _turn.Request();
        return delivered;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool CanHandOver() => _engine.Room > 0 && TableHasRoom;

    private bool TableHasRoom => _places.Length - _freeSlotCount < _options.OperationsMax;

    private void HandOver()
    {
        while (_firstHeld is not null && TableHasRoom)
        {
            int chain = ChainLength(_firstHeld);
            if (_engine.Room < chain)
            {
                _engine.Submit();
                if (_engine.Room < chain) break;
            }
            for (; chain > 0; chain--) Prepare(TakeHeld());
        }
        if (_cancelling.Count > 0) HandOverCancellations();
    }

    private RingRequest TakeHeld()
    {
        RingRequest held = _firstHeld!;
        _firstHeld = held.NextHeld;
        if (_firstHeld is null) _lastHeld = null;
        held.NextHeld = null;
        return held;
    }

    private static int ChainLength(RingRequest request)
    {
        int length = 1;
        while ((request.Entry.Flags & IoUringEntryFlags.Link) != 0 && request.NextHeld is { } next)
        {
            length++;
            request = next;
        }
        return length;
    }

    private void HandOverCancellations()
    {
        int kept = 0;
        for (int i = 0; i < _cancelling.Count; i++)
        {
            RingRequest request = _cancelling[i];
            // Over already, and perhaps begun again.
            if (!request.CancelWanted) continue;
            if (_engine.Room == 0) _engine.Submit();
            if (request.Slot < 0 || _engine.Room == 0)
            {
                _cancelling[kept++] = request;
                continue;
            }
            request.CancelWanted = false;
            _engine.Prepare(new IoUringEntry
            {
                Op = IoUringOp.AsyncCancel,
                Fd = -1,
                Address = request.Entry.UserData,
                UserData = CancellationTag
            });
        }
        _cancelling.RemoveRange(kept, _cancelling.Count - kept);
    }

    private int Deliver(int completionsMax)
    {
        int delivered = 0;
        while (delivered < completionsMax && !_disposed && _engine.TryTake(out IoUringCompletion completion))
        {
            if (completion.UserData == CancellationTag) continue;
            int slot = (int)(uint)completion.UserData;
            ref Place place = ref _places[slot];
            RingRequest request = place.Request!;
            Debug.Assert(place.Generation == (uint)(completion.UserData >> 32), "a completion of an operation that is over");
            place.Request = null;
            place.Generation++;
            _freeSlots[_freeSlotCount++] = slot;
            delivered++;
            Complete(request, completion.Result);
        }
        _completions += delivered;
        if (delivered > 0) BatchDelivered?.Invoke();
        return delivered;
    }

    private void Complete(RingRequest request, int result)
    {
        request.Slot = RingRequest.Idle;
        request.CancelWanted = false;
        InFlight--;
        RingFile? file = request.File;
        request.File = null;
        try
        {
            request.Complete(result);
        }
        catch (Exception exception)
        {
            _reactor.FailWork($"completion of {request.GetType().Name}", exception);
        }
        file?.End();
    }

    /// <summary>Ends every operation and waits for the kernel to let go of the last one (buffer invariant A).</summary>
    private void Drain()
    {
        if (_draining) return;
        _draining = true;
        while (_firstHeld is not null) Complete(TakeHeld(), -(int)Errno.Canceled);
        foreach (Place place in _places)
        {
            if (place.Request is not { CancelWanted: false } request) continue;
            request.CancelWanted = true;
            _cancelling.Add(request);
        }
        long reportAt = Environment.TickCount64 + DrainReportMs;
        while (InFlight > 0)
        {
            HandOverCancellations();
            _engine.Wait(timeoutMs: 100);
            Deliver(int.MaxValue);
            if (Environment.TickCount64 < reportAt) continue;
            reportAt = long.MaxValue;
            _reactor.Report(new HandlerFailure("completion ring",
                new TimeoutException($"{InFlight} cancelled operations do not end: still waiting")));
        }
    }

    private void Grow()
    {
        int length = _places.Length;
        Array.Resize(ref _places, length * 2);
        Array.Resize(ref _freeSlots, length * 2);
        for (int slot = length * 2 - 1; slot >= length; slot--) _freeSlots[_freeSlotCount++] = slot;
    }

    /// <summary>
    /// Where an operation is found when it completes. A struct: a store into an array of an open class has the runtime look up whether it
    /// may, in a cache that now and then grows, on the thread that stores.
    /// </summary>
    private struct Place
    {
        internal RingRequest? Request;
        internal uint Generation;
    }
}
