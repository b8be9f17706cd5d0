using System.Diagnostics.CodeAnalysis;

namespace Vmm.Events;

/// <summary>
/// A single-threaded event loop. The kernel hands back, with each ready descriptor, the address of the slot that names its handler; other
/// threads reach the loop through <see cref="Remote"/>.
/// </summary>
/// <remarks>
/// The reactor belongs to the thread that made it, until another thread first runs it; from then on to that thread. Every member but
/// <see cref="Remote"/> throws <see cref="InvalidOperationException"/> on any other thread. When its thread has ended, the first thread
/// that uses it owns it; if the ended thread had run it by hand, it has stopped.
/// <para>This file has what is watched, and who may ask for it; the other has the life of the reactor and its turns.</para>
/// </remarks>
public sealed partial class Reactor : IReactor, IDisposable
{
    /// <summary>
    /// In place of a slot's bits: a one-shot interest that fired and was not modified since. No EPOLL… bit has this value.
    /// </summary>
    internal const uint DisarmedBit = 1u << 26;

    private readonly ReactorOptions _options;
    private readonly IPoller _poller;
    private readonly Looking? _looking;
    private readonly SlotTable _slots = new();
    private readonly AgainList _again = new();
    private readonly ReactorFailures _failures;
    private readonly RemoteEndpoint _remote;
    private int[] _slotOfFd = new int[64];
    /// <summary>Thread objects and not their numbers, which later threads get again. Null: unowned, until a thread uses it.</summary>
    private Thread? _owner = Thread.CurrentThread;
    private Thread? _runner;
    private ReactorTimers? _timers;

    /// <summary>Makes a reactor with nothing to watch.</summary>
    /// <param name="options">How it behaves; null for the defaults.</param>
    /// <exception cref="KernelException">The process has no descriptor left.</exception>
    /// <exception cref="PlatformNotSupportedException">This is not Linux on x86-64.</exception>
    public Reactor(ReactorOptions? options = null)
    {
        Platform.ThrowIfForeign();
        _options = options ?? new ReactorOptions();
        _options.Validate();
        _poller = Pollers.Create(_options, _slots);
        _failures = new ReactorFailures(_options);
        Work = new TurnWorkList(this);
        try
        {
            _remote = new RemoteEndpoint(this);
            if (_options.PollMax > TimeSpan.Zero) _looking = new Looking(this, _poller, _slots, _options.PollMax);
            AddPart(_remote.Wakeful);
        }
        catch (KernelException)
        {
            _poller.Dispose();
            throw;
        }
        Watching = HandlerWatch.For(this);
    }

    /// <summary>For messages and measurements.</summary>
    public string Name => _options.Name;

    /// <summary>How it waits: what was asked for, or epoll where the kernel refuses a ring.</summary>
    public PollerKind Poller => _poller.Kind;

    /// <summary>How other threads reach this reactor. Thread-safe; may be asked for on any thread.</summary>
    public RemoteEndpoint Remote => _remote;

    /// <summary>The timers that call on this reactor's thread.</summary>
    /// <exception cref="KernelException">The process has no descriptor left for the first timer.</exception>
    public ReactorTimers Timers
    {
        get
        {
            CheckUsable();
            return _timers ??= new ReactorTimers(this);
        }
    }

    /// <summary>What the reactor did so far.</summary>
    public ReactorStatistics Statistics
    {
        get
        {
            CheckThread();
            return Snapshot() with { AllocatedBytes = AllocatedBytes };
        }
    }

    /// <summary>How long it looks before it blocks; null if it blocks at once.</summary>
    internal AdaptivePolling? Polling => _looking?.Polling;

    /// <summary>What the simulation did; nothing without one.</summary>
    internal SimulationCounts SimulationCounts => (_poller as SimulationPoller)?.Counts ?? default;

    internal ReactorOptions Options => _options;

    /// <summary>The work at the end of a turn.</summary>
    internal TurnWorkList Work { get; }

    /// <summary>Null unless the options ask for it: then each event pays two looks at the clock.</summary>
    internal HandlerWatch? Watching { get; }

    /// <summary>What the reactor did so far, read from any thread: each number is right, together they are a moment apart.</summary>
    internal ReactorStatistics Snapshot() => new(
        Volatile.Read(ref _waits), Volatile.Read(ref _events) - _remote.WakeUps, Volatile.Read(ref _ghosts), Volatile.Read(ref _rebuilds),
        _failures.Count, _remote.CallsRun, _remote.WakeUps, Volatile.Read(ref _allocatedBytes));

    /// <summary>Slots in use, those of the reactor's own wake-up and timers included.</summary>
    internal int SlotsInUse => _slots.Rented;

    /// <summary>What timers and remote calls are called with: this, or the mock that this stands behind.</summary>
    internal IReactor Face
    {
        get => field ?? this;
        init;
    }

    /// <summary>The thread that runs the reactor: the first to do so keeps it.</summary>
    internal ThreadStack Runner { get; } = new();

    /// <summary>Whether the calling thread runs the reactor, or did last and will again: no thread does once it has ended.</summary>
    internal bool IsRunByThisThread => Runner.IsMine || (_life < Life.Ended && Thread.CurrentThread == Volatile.Read(ref _runner));

    /// <summary>Whether no thread has run it so far and the calling thread is the one that owns it until one does.</summary>
    internal bool WaitsForItsMaker => Volatile.Read(ref _runner) is null && Volatile.Read(ref _owner) == Thread.CurrentThread;

    /// <inheritdoc/>
    public void Add(Subscription subscription)
    {
        ArgumentNullException.ThrowIfNull(subscription);
        CheckUsable();
        if (subscription.IsRegistered)
            throw new InvalidOperationException($"{subscription.Name} is registered already");
        if (ReferenceEquals(subscription.Handle, _selfRemoved?.Handle))
            throw new InvalidOperationException(
                $"{subscription.Handle} was removed by its own handler and closes when that ends: add a duplicate of it");

        bool held = false;
        subscription.Handle.DangerousAddRef(ref held);
        try
        {
            Watch(subscription, (int)subscription.Handle.DangerousGetHandle());
            held = false;
        }
        finally
        {
            if (held) subscription.Handle.DangerousRelease();
        }
    }

    /// <summary>Watches a part of the reactor, of which its users know nothing; closes it if the kernel refuses.</summary>
    internal void AddPart(Subscription part)
    {
        part.BelongsToReactor = true;
        try
        {
            Add(part);
        }
        catch (KernelException)
        {
            part.Handle.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Modify(Subscription subscription, Interest interest)
    {
        ArgumentNullException.ThrowIfNull(subscription);
        CheckUsable();
        if (subscription.Registrar != this)
            throw new InvalidOperationException($"{subscription.Name} is not registered in reactor '{Name}'");

        ref Slot slot = ref _slots[subscription.SlotIndex];
        ulong data = ThinPointer.To(ref slot);
        Errno errno = _poller.Modify(slot.Fd, interest.Bits, data);
        // A set that was rebuilt does not hold the one-shot subscriptions that had fired.
        if (errno == Errno.NoEntry && slot.Bits == DisarmedBit) errno = _poller.Add(slot.Fd, interest.Bits, data);
        if (errno != Errno.None)
        {
            // An exclusive interest is changed by a remove and an add. If the add was refused, the old interest must go on. What was not in
            // the set was closed behind our back, and its number may be another file's by now.
            if (slot.Bits != DisarmedBit && errno is not (Errno.NoEntry or Errno.BadDescriptor)) _ = _poller.Add(slot.Fd, slot.Bits, data);
            throw Refused("modify", subscription, errno);
        }
        slot.Bits = interest.Bits;
        slot.ArmedInTurn = _turn;
        subscription.Interest = interest;
    }

    /// <inheritdoc/>
    public bool Remove(Subscription subscription)
    {
        ArgumentNullException.ThrowIfNull(subscription);
        CheckUsable();
        if (subscription.Registrar != this) return false;
        bool isSelf = _dispatching && SlotTable.TargetOf(_currentData) == subscription;
        Unwatch(subscription);
        if (isSelf) _selfRemoved = subscription; else Close(subscription.Handle);
        return true;
    }

    /// <inheritdoc/>
    public void DispatchAgain(Subscription subscription)
    {
        ArgumentNullException.ThrowIfNull(subscription);
        CheckUsable();
        if (subscription.Registrar != this)
            throw new InvalidOperationException($"{subscription.Name} is not registered in reactor '{Name}'");
        if ((subscription.Interest.Bits & Interest.OneShotMask) != 0)
            throw new InvalidOperationException($"{subscription.Name} is one-shot: modify it, and the next event calls its handler");
        _again.Add(subscription);
    }

    /// <summary>
    /// Stops watching and leaves the descriptor open, for another reactor or another use. A handler may detach its own subscription.
    /// </summary>
    /// <returns>False if the subscription is not registered here.</returns>
    public bool Detach(Subscription subscription)
    {
        ArgumentNullException.ThrowIfNull(subscription);
        CheckUsable();
        if (subscription.Registrar != this) return false;
        Unwatch(subscription);
        subscription.Handle.DangerousRelease();
        return true;
    }

    /// <summary>Whether a one-shot source has fired, and was not modified since.</summary>
    internal bool IsDisarmed(Subscription source) => _slots[source.SlotIndex].Bits == DisarmedBit;

    /// <summary>A one-shot source that had fired stays silent until it is modified, wherever it goes.</summary>
    internal void LeaveDisarmed(Subscription source)
    {
        ref Slot slot = ref _slots[source.SlotIndex];
        _ = _poller.Remove(slot.Fd, ThinPointer.To(ref slot));
        slot.Bits = DisarmedBit;
    }

    /// <summary>The live subscription of a descriptor number.</summary>
    /// <returns>False if none is registered here.</returns>
    public bool TryFind(int fd, [NotNullWhen(true)] out Subscription? subscription)
    {
        CheckUsable();
        int index = (uint)fd < (uint)_slotOfFd.Length ? _slotOfFd[fd] - 1 : -1;
        subscription = index < 0 ? null : _slots[index].Target;
        if (subscription is { BelongsToReactor: true }) subscription = null;
        return subscription is not null;
    }

    /// <summary>Ends the reactor and hands back its subscriptions, in the order of their slots, with their descriptors open.</summary>
    public IReadOnlyList<Subscription> TakeApart()
    {
        CheckUsable();
        ThrowIfInTurn("take the reactor apart");
        List<Subscription> subscriptions = LiveSubscriptions(ofReactor: false);
        foreach (Subscription subscription in subscriptions) Detach(subscription);
        Dispose();
        return subscriptions;
    }

    /// <summary>
    /// Removes every subscription and closes its descriptor, and then disposes each subscriber that had one. Pending remote calls fail with
    /// <see cref="ReactorStoppedException"/>. What a subscriber throws is reported to <see cref="ReactorOptions.OnHandlerFailure"/>.
    /// </summary>
    /// <exception cref="InvalidOperationException">Called from a handler, or from another thread than the reactor's.</exception>
    public void Dispose()
    {
        if (_life == Life.Disposed) return;
        CheckThread();
        ThrowIfInTurn("dispose the reactor");
        Work.End();
        RemoveAll();
        _timers?.Dispose();
        foreach (Subscription subscription in LiveSubscriptions(ofReactor: true)) Remove(subscription);
        _life = Life.Disposed;
        ReactorMeter.Remove(this);
        Watching?.Dispose();
        _remote.Stop();
        _poller.Dispose();
        Runner.GiveBack();
    }

    /// <summary>
    /// What a subscriber registers belongs to the reactor, and so does the subscriber: it ends with its sources, here as after a failure.
    /// </summary>
    private void RemoveAll()
    {
        HashSet<Subscriber> ended = [];
        // Again for what a subscriber registers while it is disposed, for itself or for another.
        while (LiveSubscriptions(ofReactor: false) is { Count: > 0 } live)
        {
            Subscriber[] owners = [.. live.Select(each => each.Owner).OfType<Subscriber>().Where(ended.Add)];
            foreach (Subscription subscription in live) Remove(subscription);
            foreach (Subscriber owner in owners) DisposeOwner(owner, owner.Name);
        }
    }

    private List<Subscription> LiveSubscriptions(bool ofReactor)
    {
        List<Subscription> live = [];
        for (int i = 0; i < _slots.Capacity; i++)
        {
            if (_slots[i].Target is { } target && target.BelongsToReactor == ofReactor) live.Add(target);
        }
        return live;
    }

    private void Watch(Subscription subscription, int fd)
    {
        if (fd < _slotOfFd.Length && _slotOfFd[fd] != 0)
            throw new InvalidOperationException($"{subscription.Handle} is watched already, by {_slots[_slotOfFd[fd] - 1].Target?.Name}");
        subscription.Owner?.ThrowIfElsewhere(this);

        int index = _slots.Rent();
        ref Slot slot = ref _slots[index];
        ulong data = ThinPointer.To(ref slot);
        Errno errno = _poller.Add(fd, subscription.Interest.Bits, data);
        // We watch no such number, so what the kernel has there is a ghost: the file was closed behind our back and came back.
        if (errno == Errno.Exists) errno = _poller.Modify(fd, subscription.Interest.Bits, data);
        if (errno != Errno.None)
        {
            _slots.Retire(index, _turn, _dispatching);
            throw Refused("watch", subscription, errno);
        }
        slot.Target = subscription;
        slot.Fd = fd;
        slot.Bits = subscription.Interest.Bits;
        if (fd >= _slotOfFd.Length) Array.Resize(ref _slotOfFd, Math.Max(fd + 1, _slotOfFd.Length * 2));
        _slotOfFd[fd] = index + 1;
        subscription.SlotIndex = index;
        subscription.Registrar = this;
        _looking?.Add(subscription);
        subscription.Owner?.Registered(subscription);
    }

    private void Unwatch(Subscription subscription)
    {
        int index = subscription.SlotIndex;
        ref Slot slot = ref _slots[index];
        // A descriptor that was closed behind our back is not in the set any more, or its number is another's. What the kernel
        // still reports for it is a ghost, and a ghost that comes back makes us rebuild the set.
        _ = _poller.Remove(slot.Fd, ThinPointer.To(ref slot));
        _slotOfFd[slot.Fd] = 0;
        _slots.Retire(index, _turn, _dispatching);
        _looking?.Remove(subscription);
        subscription.SlotIndex = -1;
        subscription.Registrar = null;
        subscription.IsDueAgain = false;
        subscription.Owner?.Removed(subscription);
    }

    private static void Close(OwnedFd handle)
    {
        handle.DangerousRelease();
        handle.Dispose();
    }

    private KernelException Refused(string verb, Subscription subscription, Errno errno) => new(
        $"reactor '{Name}' cannot {verb} {subscription.Name}", errno, errno switch
        {
            Errno.NotPermitted => "a regular file is always ready and cannot be polled, use a completion ring",
            Errno.NoSpace => "raise /proc/sys/fs/epoll/max_user_watches",
            Errno.BadDescriptor or Errno.NoEntry => "it was closed behind the reactor's back",
            Errno.Invalid => "an exclusive interest takes only readable, writable, edge-triggered and wake-up beside it",
            _ => null,
        });

    /// <summary>Throws if the calling thread does not own the reactor, or the reactor is disposed.</summary>
    internal void CheckUsable()
    {
        CheckThread();
        ObjectDisposedException.ThrowIf(_life == Life.Disposed, this);
    }

    /// <summary>Throws if the calling thread does not own the reactor.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void CheckThread()
    {
        if (!Runner.IsMine) CheckOwner();
    }

    private void CheckOwner()
    {
        Thread? owner = Volatile.Read(ref _owner);
        if (owner == Thread.CurrentThread || TryAdopt(owner)) return;
        throw new InvalidOperationException($"reactor '{Name}' belongs to another thread: reach it through its remote endpoint");
    }

    /// <summary>
    /// An unowned reactor is adopted by the first thread that uses it, and so is one whose owner has ended. If that owner had run the
    /// reactor, the reactor has stopped.
    /// </summary>
    private bool TryAdopt(Thread? owner)
    {
        Thread me = Thread.CurrentThread;
        if (owner is { IsAlive: true } || Interlocked.CompareExchange(ref _owner, me, owner) != owner) return false;
        if (_life >= Life.Ended || owner is null || owner != _runner) return true;
        // The allocations of a thread that has ended are not known.
        _allocatedAtStart = NotCounting;
        Stopped(me);
        return true;
    }

    /// <summary>
    /// If the thread that ran the reactor by hand has ended, no other may run it: the reactor stops here, so that no caller waits for it.
    /// </summary>
    internal void StopIfAbandoned()
    {
        if (_life >= Life.Ended || Volatile.Read(ref _runner) is not { IsAlive: false } runner || !TryAdopt(runner)) return;
        GiveUpOwnership();
    }

    /// <summary>Leaves it unowned: the next thread that uses or runs it owns it.</summary>
    internal void GiveUpOwnership() => Volatile.Write(ref _owner, null);

    private void ThrowIfInTurn(string what)
    {
        if (_inTurn) throw new InvalidOperationException($"a handler cannot {what}");
    }
}
