using System.Diagnostics.CodeAnalysis;

namespace Vmm.Devices;

/// <summary>
/// The device's side of a virtqueue (virtio 1.2 § 2.6): takes chains the driver made available and gives them back used. Devices see
/// this view only; whether the ring is split or packed is the queue's own business. Used on the reactor thread that serves the queue.
/// </summary>
public abstract class VirtQueue : IDisposable
{
    /// <summary>Most entries a ring may have (virtio 1.2 § 2.7 and § 2.8).</summary>
    public const ushort SizeLimit = 32768;

    /// <summary>
    /// Most descriptors of one chain, in a longer ring and in an indirect table: what known drivers stay far below, and what bounds the
    /// memory a driver can make a queue keep (16 bytes for each descriptor of each chain in flight).
    /// </summary>
    internal const int ChainDescriptorsMax = 1024;

    /// <summary>
    /// Room for pieces of memory that the chains of a queue may have together, beyond the first few of each: 4 MiB. With that much in
    /// flight the queue gives no more chains until some of them were pushed.
    /// </summary>
    private const int GrownInFlightMax = 1 << 18;

    /// <summary>As much of it is kept for later chains: 1 MiB, enough for 256 requests of 256 buffers.</summary>
    private const int GrownKeptMax = 1 << 16;

    /// <summary>
    /// Requests that a queue is ready for from its start, and with it what serves them; what more takes is made when its driver has so
    /// many in flight, once each. A served disk has dozens of queues, of which most stay almost empty.
    /// </summary>
    internal const int MadeAtStart = 16;

    private readonly IVirtioInterrupt _interrupt;
    private readonly Action<GuestFault>? _onFault;
    private readonly BatchLatency? _latency;
    private ChainPool _chains;
    private bool _isFull;
    private MemoryHold _hold;
    private MemoryMap _map;
    private GuestExtent _near;
    /// <summary>Chains in flight that were popped under holds before this one.</summary>
    private int _inFlightBefore;
    /// <summary>Broken or disposed: it gives no more chains.</summary>
    private bool _isClosed;
    private Action? _onQuiet;
    private bool _disposed;

    private protected VirtQueue(QueueConfiguration configuration, GuestMemory memory, IVirtioInterrupt interrupt)
    {
        Configuration = configuration;
        Size = configuration.Size;
        Memory = memory;
        Journal = configuration.Journal;
        Statistics = configuration.Statistics ?? new QueueStatistics();
        _interrupt = interrupt;
        _onFault = configuration.OnFault;
        if (configuration.MeasureLatency)
        {
            Statistics.Reserve(configuration.Kinds);
            _latency = new BatchLatency(Statistics, configuration.Slow);
        }
        _hold = memory.Hold();
        _map = _hold.Map;
        _chains = new ChainPool(this, MadeAtStart);
    }

    /// <summary>The queue's number in its device.</summary>
    public int Index => Configuration.Index;

    /// <summary>For messages and measurements.</summary>
    public string Name => Configuration.Name;

    /// <summary>Entries the driver gave the ring.</summary>
    public ushort Size { get; }

    /// <summary>The memory the ring and its buffers live in.</summary>
    public GuestMemory Memory { get; }

    /// <summary>Chains popped and not pushed back yet. At most <see cref="Size"/>.</summary>
    public int InFlight { get; private set; }

    /// <summary>What it did so far.</summary>
    public QueueStatistics Statistics { get; }

    /// <summary>
    /// The first thing the driver did wrong; of kind <see cref="GuestFaultKind.None"/> while it did nothing. Then the queue gives no more
    /// chains.
    /// </summary>
    public GuestFault FirstFault { get; private set; }

    /// <summary>Where the queue will take the next chain, in the form of <see cref="QueueConfiguration.AvailBase"/>.</summary>
    public abstract ushort AvailBase { get; }

    /// <summary>Where the queue will give the next chain back, in the form of <see cref="QueueConfiguration.UsedBase"/>.</summary>
    public abstract ushort UsedBase { get; }

    /// <summary>What <see cref="TryPop"/> may still give in this turn. Its worker's, while one serves the queue.</summary>
    internal TurnBudget Turn { get; set; } = new();

    /// <summary>
    /// The region that a buffer was found in last, which others are likely to be in; one without bytes if none was. It belongs to the
    /// memory state that the queue holds, and goes with it.
    /// </summary>
    internal GuestExtent Near => _near;

    private protected QueueConfiguration Configuration { get; }

    private protected IQueueJournal? Journal { get; }

    private bool IsBroken => FirstFault.Kind != GuestFaultKind.None;

    /// <summary>Makes the device's side of a ring that the driver laid out.</summary>
    /// <param name="configuration">What the driver configured.</param>
    /// <param name="memory">Where the ring and its buffers are.</param>
    /// <param name="interrupt">What the queue signals.</param>
    /// <param name="queue">The queue; dispose it when it is quiet and not needed any more: it keeps guest memory mapped.</param>
    /// <param name="fault">What is wrong with the layout.</param>
    public static bool TryCreate(
        QueueConfiguration configuration, GuestMemory memory, IVirtioInterrupt interrupt, [NotNullWhen(true)] out VirtQueue? queue,
        out GuestFault fault)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(interrupt);
        queue = null;
        fault = RingLayout.Check(configuration);
        if (fault.Kind != GuestFaultKind.None) return false;
        VirtQueue candidate = configuration.Has(VirtioFeatures.PackedRing)
            ? new PackedQueue(configuration, memory, interrupt)
            : new SplitQueue(configuration, memory, interrupt);
        fault = candidate.ResolveRings(candidate._map);
        if (fault.Kind != GuestFaultKind.None)
        {
            candidate.Dispose();
            return false;
        }
        if (memory.BeforeWrite is { } guard) RingLayout.Keep(guard, configuration);
        queue = candidate;
        return true;
    }

    /// <summary>Takes the next available chain.</summary>
    /// <returns>
    /// False if there is none, if the turn's budget is used up, or if the ring is malformed (then the guest fault was reported and the
    /// queue gives nothing until it is reset).
    /// </returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryPop([NotNullWhen(true)] out DescriptorChain? chain)
    {
        chain = Pop();
        return chain is not null;
    }

    /// <summary>
    /// As <see cref="TryPop"/>: a result stays in a register, where a variable of the caller may be anywhere. It tries the usual case
    /// (<see cref="IsUsual()"/>, one buffer) before <see cref="PopUnusual"/>: code that calls nothing saves and restores no registers, and
    /// does half of the work.
    /// </summary>
    private protected abstract DescriptorChain? Pop();

    /// <summary>Everything that a pop may have to do. It reads the ring anew: nothing that <see cref="Pop"/> read is used.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private protected DescriptorChain? PopUnusual() => MayPop() ? Took(TakeAvailable()) : null;

    /// <summary>The next available chain, walked; null if there is none or it was a fault.</summary>
    private protected abstract DescriptorChain? TakeAvailable();

    /// <summary>Whether a chain may be popped and nothing is to be done but to take it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private protected bool IsUsual()
    {
        TurnBudget turn = Turn;
        GuestMemory memory = Memory;
        return !_isClosed && !turn.IsSpent && !turn.IsLimited && Grown <= GrownInFlightMax && memory.Map == _map
            && memory.BeforeWrite is null && !_chains.IsEmpty && _latency is not { BegunAt: 0 } && Journal is null;
    }

    /// <summary>The chain that is rented next. Only where <see cref="IsUsual()"/>.</summary>
    private protected DescriptorChain NextRented => _chains.Next;

    /// <summary>Rents the filled chain that is <see cref="NextRented"/> and puts it in flight, where <see cref="IsUsual()"/>.</summary>
    /// <returns>False if that is not all there is to do: the chain is empty then, and was not rented.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private protected bool TryTakeUsual(DescriptorChain chain, ushort id)
    {
        if (chain.Hold != _hold || !_chains.TryTakeNext(id))
        {
            chain.Clear();
            return false;
        }
        chain.Id = id;
        chain.IsInFlight = true;
        if (_latency is not null) chain.PoppedAt = _latency.BegunAt;
        InFlight++;
        Turn.TookOne();
        return true;
    }

    /// <summary>Whether there may be a next chain, as far as this can be said without the ring.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool MayPop()
    {
        if (_isClosed || Turn.IsSpent || (Grown > GrownInFlightMax && IsFull())) return false;
        return Memory.Map == _map || TryRefreshMemory();
    }

    /// <summary>The ring gave a chain, or none.</summary>
    /// <returns>The same.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private protected DescriptorChain? Took(DescriptorChain? chain)
    {
        if (chain is null)
        {
            HasRunDry = true;
            return null;
        }
        if (Memory.BeforeWrite is { } guard) Keep(guard, chain);
        Turn.Took(chain.Cost);
        return chain;
    }

    /// <summary>
    /// Gives a chain back. The driver sees it with the next <see cref="Publish"/>; the chain object must not be used after.
    /// </summary>
    /// <param name="chain">A chain this queue popped.</param>
    /// <param name="written">Bytes written to the device-writable part, from its start.</param>
    /// <exception cref="InvalidOperationException">The chain is not in flight in this queue: a bug of the device.</exception>
    public abstract void Push(DescriptorChain chain, uint written);

    /// <summary>Begins a push that has nothing to do but to write the used entry and to end with <see cref="Land"/>.</summary>
    /// <returns>False if there is more: nothing was done.</returns>
    /// <exception cref="InvalidOperationException">The chain is not in flight in this queue.</exception>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private protected bool TryBeginUsualPush(DescriptorChain chain, uint written)
    {
        CheckInFlight(chain);
        if (chain.Hold != _hold || Memory.DirtyTracker is not null || Grown > GrownKeptMax || _disposed || _isFull || Journal is not null
            || (_latency is not null && !_latency.IsOpen(chain.PoppedAt))) return false;
        _latency?.PushedToOpen(chain.Kind);
        Statistics.CountRequest(chain.ReadableLength + written);
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private protected void Land(DescriptorChain chain)
    {
        _chains.Release(chain.Id);
        chain.IsInFlight = false;
        InFlight--;
        _chains.Return(chain);
    }

    /// <summary>Everything that a push may have to do.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private protected void PushUnusual(DescriptorChain chain, uint written)
    {
        if (Memory.DirtyTracker is { } tracker) MarkDirty(tracker, chain, written);
        _latency?.Pushed(chain.PoppedAt, chain.Kind);
        Statistics.CountRequest(chain.ReadableLength + written);
        WriteUsed(chain, written);
        Journal?.GivenBack(chain.LogEntry);
        LandUnusual(chain);
    }

    /// <summary>Writes a used entry, not visible to the driver yet.</summary>
    private protected abstract void WriteUsed(DescriptorChain chain, uint written);

    /// <summary>
    /// Undoes the pop of a chain: the next pop takes it again, and neither end notices. For a device that finds its host side
    /// not ready.
    /// </summary>
    /// <param name="chain">The chain popped last of those in flight that were not pushed; of several, the latest first.</param>
    /// <exception cref="InvalidOperationException">The chain is not in flight in this queue: a bug of the device.</exception>
    public void Unpop(DescriptorChain chain)
    {
        CheckInFlight(chain);
        UndoTake(chain);
        Turn.PutBack(chain.Cost);
        // What was put back is there; its device waits for something else.
        HasRunDry = false;
        LandUnusual(chain);
    }

    /// <summary>What is popped next waited until now, because the device's limit held the queue.</summary>
    internal void CountThrottled(TimeSpan held)
    {
        Statistics.CountThrottled(held);
        _latency?.Held(held);
    }

    /// <summary>Makes pushed chains visible to the driver, and interrupts it if it wants that. Once a batch, not once a request.</summary>
    public void Publish()
    {
        _latency?.Published(InFlight);
        if (!_disposed && PublishUsed())
        {
            Statistics.CountInterrupt();
            _interrupt.SignalQueue(Index);
        }
        if (_onQuiet is { } onQuiet && InFlight == 0)
        {
            _onQuiet = null;
            onQuiet();
        }
    }

    /// <summary>
    /// Reports what the driver did wrong with this queue: the device needs a reset, and the queue gives no more chains. Those in flight can
    /// still be pushed.
    /// </summary>
    public void Fault(GuestFault fault)
    {
        Statistics.CountFault();
        bool first = !IsBroken;
        if (first) FirstFault = fault;
        _isClosed = true;
        if (_onFault is not null) _onFault(fault);
        else if (first) _interrupt.SignalNeedsReset();
    }

    /// <summary>
    /// Moves to the memory state in force, after regions were added, removed or replaced. A queue does so before its next pop anyway; call
    /// this, on its thread, so that an idle queue lets go of removed regions too. A ring whose memory is gone is a guest fault.
    /// </summary>
    public void RefreshMemory()
    {
        if (!_disposed && Memory.Map != _map) TryRefreshMemory();
    }

    /// <summary>Lets go of guest memory. Chains still in flight keep theirs until they are pushed; the queue gives no more.</summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = _isClosed = true;
        if (InFlight == 0) LetGo();
        GC.SuppressFinalize(this);
    }

    /// <summary>Calls back, now or after a later push and publish, when nothing is in flight. On the queue's thread.</summary>
    internal void WhenQuiet(Action onQuiet)
    {
        _onQuiet += onQuiet;
        Publish();
    }

    /// <summary>Called, on the queue's thread, when the queue gave no chain because too much was in flight, and now would.</summary>
    internal Action? OnRoom { get; set; }

    /// <summary>Pieces of memory that its chains have room for, beyond the first few of each.</summary>
    internal int Grown { get; private set; }

    /// <summary>A chain made room for more pieces.</summary>
    internal void CountGrown(int pieces) => Grown += pieces;

    /// <summary>Counts a kick for the statistics.</summary>
    internal void CountKick() => Statistics.CountKick();

    /// <summary>Whether a pop found nothing available: the device would have taken more. Reading it sets it back.</summary>
    internal bool HasRunDry { get; set; }

    /// <summary>Asks the driver not to kick.</summary>
    internal abstract void DisableKicks();

    /// <summary>Asks the driver to kick for the next chain.</summary>
    /// <returns>True if chains became available in the meantime: no kick will come for them.</returns>
    internal abstract bool EnableKicks();

    /// <summary>
    /// Whether the driver made a chain available that was not popped yet. One load; says nothing of whether it is well formed.
    /// </summary>
    internal abstract bool HasAvailable { get; }

    /// <summary>Finds the rings in a memory state. Changes nothing if they are not there.</summary>
    private protected abstract GuestFault ResolveRings(MemoryMap map);

    /// <summary>The guest memory under the rings is about to be let go.</summary>
    private protected abstract void ForgetRings();

    /// <summary>Goes back by the chain that was taken last.</summary>
    private protected abstract void UndoTake(DescriptorChain chain);

    /// <summary>Makes the used entries visible.</summary>
    /// <returns>Whether the driver wants an interrupt for them.</returns>
    private protected abstract bool PublishUsed();

    /// <summary>A chain to be filled: to be claimed or returned.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private protected DescriptorChain Rent() => _chains.Rent(this);

    /// <summary>A chain did not get in flight.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private protected void ReturnUnclaimed(DescriptorChain chain)
    {
        if (Grown > GrownKeptMax) Shrink(chain);
        _chains.Return(chain);
    }

    private void Shrink(DescriptorChain chain)
    {
        if (chain.GrownBy == 0) return;
        Grown -= chain.GrownBy;
        chain.Shrink();
    }

    private bool IsFull() => _isFull = InFlight > 0;

    /// <summary>Puts a filled chain in flight, by its name.</summary>
    /// <returns>The chain; null, and a fault, if another with that name is: then it was returned.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private protected DescriptorChain? Claim(DescriptorChain chain)
    {
        if (!_chains.TryClaim(chain.Id)) return RefuseClaim(chain);
        chain.IsInFlight = true;
        if (chain.Hold != _hold) chain.Hold = _hold;
        if (_latency is not null) chain.PoppedAt = _latency.BatchStart;
        InFlight++;
        return chain;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private DescriptorChain? RefuseClaim(DescriptorChain chain)
    {
        ReturnUnclaimed(chain);
        Refuse(QueueFaults.InFlight);
        return null;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void CheckInFlight(DescriptorChain chain)
    {
        if (chain is null || chain.Queue != this || !chain.IsInFlight) ThrowNotInFlight(chain);
    }

    [DoesNotReturn]
    private void ThrowNotInFlight([NotNull] DescriptorChain? chain)
    {
        ArgumentNullException.ThrowIfNull(chain);
        throw new InvalidOperationException(
            $"chain {chain.Id} is not in flight in queue {Index}: it was pushed already, or popped elsewhere");
    }

    /// <summary>A chain is in flight no more.</summary>
    private void LandUnusual(DescriptorChain chain)
    {
        if (Grown > GrownKeptMax) Shrink(chain);
        MemoryHold hold = chain.Hold!;
        Land(chain);
        if (hold != _hold)
        {
            chain.Hold = null;
            _inFlightBefore--;
            if (--hold.Chains == 0) hold.Dispose();
        }
        if (_disposed || _isFull) LandWaited();
    }

    /// <summary>A chain landed that the end of the queue waits for, or room for others.</summary>
    private void LandWaited()
    {
        if (_disposed && InFlight == 0) LetGo();
        if (!_isFull || Grown > GrownInFlightMax) return;
        _isFull = false;
        OnRoom?.Invoke();
    }

    /// <summary>Reports a fault. Not inlined: a fault on the stack would be cleared with each chain.</summary>
    /// <returns>False.</returns>
    [MethodImpl(MethodImplOptions.NoInlining)]
    internal bool Refuse(in GuestFault fault)
    {
        Fault(fault);
        return false;
    }

    /// <summary>Moves <see cref="Near"/> to the region that a buffer lies in.</summary>
    /// <returns>False, and a fault, if there is none.</returns>
    internal bool TryMoveNear(ulong address)
    {
        if (address - _near.Start < _near.Length) return true;
        GuestExtent found = _map.Find(address);
        if (found.Length == 0) return Refuse(QueueFaults.Address);
        _near = found;
        return true;
    }

    /// <summary>Finds the table that a descriptor names.</summary>
    /// <returns>A whole number of descriptors, at least one; no byte, and a fault, if there is no such table.</returns>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private protected GuestWindow FindTable(Descriptor descriptor, ushort flags, bool negotiated)
    {
        GuestFault fault = IndirectTable.Find(_map, descriptor, flags, negotiated, out GuestWindow table);
        if (fault.Kind != GuestFaultKind.None) Refuse(fault);
        return table;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private bool TryRefreshMemory()
    {
        MemoryHold fresh = Memory.Hold();
        GuestFault fault = ResolveRings(fresh.Map);
        if (fault.Kind != GuestFaultKind.None)
        {
            fresh.Dispose();
            if (!IsBroken) Fault(QueueFaults.Removed);
            return false;
        }
        MemoryHold before = _hold;
        _hold = fresh;
        _map = fresh.Map;
        _near = default;
        before.Chains = InFlight - _inFlightBefore;
        _inFlightBefore = InFlight;
        if (before.Chains == 0) before.Dispose();
        return true;
    }

    private void LetGo()
    {
        ForgetRings();
        _near = default;
        _hold.Dispose();
    }

    /// <summary>All of the writable part: what the device will write of it is not known yet.</summary>
    private static void Keep(IBeforeWrite guard, DescriptorChain chain)
    {
        foreach (ref readonly GuestSpan span in chain.WritableSpans) guard.Keep(span.Guest, span.Length);
    }

    /// <summary>
    /// Marks what the device says it wrote, and the last byte: a status may stand there after data that was not written. Not all of the
    /// writable part: a driver may offer 4 GiB for an answer of one byte, in every chain.
    /// </summary>
    private static void MarkDirty(IDirtyTracker tracker, DescriptorChain chain, uint written)
    {
        ulong left = written;
        foreach (ref readonly GuestSpan span in chain.WritableSpans)
        {
            if (left == 0) break;
            ulong here = Math.Min(left, span.Length);
            tracker.Mark(span.Guest, here);
            left -= here;
        }
        if (chain.WritableSpans is [.., var last]) tracker.Mark(last.Guest + last.Length - 1, 1);
    }
}
