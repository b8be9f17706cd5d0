using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>A queue as a device declares it.</summary>
/// <param name="Name">For messages and measurements: <c>requests</c>, <c>receive</c>.</param>
/// <param name="SizeMax">Most entries the driver may give it.</param>
/// <param name="OnKick">Serves the queue, on its reactor's thread: pops what it can, pushes what is done. It need not publish.</param>
public sealed record QueueDefinition(string Name, ushort SizeMax, Action<VirtQueue> OnKick);

/// <summary>What a device gets when its driver is ready (virtio 1.2 § 3.1.1, DRIVER_OK).</summary>
/// <param name="Features">The negotiated feature bits, transport and ring bits included.</param>
/// <param name="Memory">The guest's memory.</param>
/// <param name="Interrupt">What the device tells its driver.</param>
/// <param name="Reactor">The device's own reactor, for descriptors of its own. Valid on its thread.</param>
/// <param name="Remote">How other threads reach that reactor.</param>
public sealed record DeviceActivation(
    ulong Features, GuestMemory Memory, IVirtioInterrupt Interrupt, IReactor Reactor, RemoteEndpoint Remote);

/// <summary>
/// A virtio device. It declares its features, configuration and queues and reacts to kicks; it does not know which transport or vCPU is on
/// the other side. The transport calls the lifecycle members on the reactor that owns the device (queue members: that serves the queue),
/// in this order: <see cref="Activate"/>, then any number of <see cref="StartQueue"/> and <see cref="StopQueue"/>, each queue for itself, then,
/// with every queue quiet, <see cref="Reset"/>; and from the start if the driver comes back.
/// </summary>
public abstract partial class VirtioDevice : IDisposable
{
    /// <summary>Most chains one queue may take before the others get their turn: a driver that keeps its ring full starves nobody.</summary>
    internal const int ChainsPerTurnMax = 256;

    private readonly List<QueueDefinition> _queues = [];
    private readonly List<QueueStatistics> _statistics = [];
    private KickSource?[] _running = [];

    /// <summary>Declares a device.</summary>
    /// <param name="type">Its kind.</param>
    /// <param name="name">For messages and measurements: <c>vda</c>.</param>
    /// <param name="configLength">Bytes of device configuration space.</param>
    protected VirtioDevice(VirtioDeviceType type, string name, int configLength = 0)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        Type = type;
        Name = name;
        Config = new ConfigSpace(configLength);
    }

    /// <summary>Its kind (virtio 1.2 § 5).</summary>
    public VirtioDeviceType Type { get; }

    /// <summary>For messages and measurements.</summary>
    public string Name { get; }

    /// <summary>Its queues, by number.</summary>
    public IReadOnlyList<QueueDefinition> Queues => _queues;

    /// <summary>What each of its queues did, by number. The counts survive resets; any thread may read them.</summary>
    public IReadOnlyList<QueueStatistics> QueueStatistics => _statistics;

    /// <summary>Whether the time each request takes goes into its queue's latency histogram. Set before the device is activated.</summary>
    public bool MeasureLatency { get; set; }

    /// <summary>Its configuration space. Thread-safe.</summary>
    public ConfigSpace Config { get; }

    /// <summary>Where it says what went wrong. Set before it is activated.</summary>
    public ILogger Logger { get; set; } = NullLogger.Instance;

    /// <summary>The device-type feature bits it offers; the transport adds those of rings and of itself.</summary>
    public virtual ulong Features => 0;

    /// <summary>
    /// Whether its queues share no state that is not thread-safe, so that each may be served by a reactor of its own. Otherwise all are served
    /// by the device's reactor.
    /// </summary>
    public virtual bool QueuesAreIndependent => false;

    /// <summary>Which of its independent queues go together: where there are several reactors, the queues of one group are served by the same.</summary>
    public virtual int QueueGroupOf(int queue) => queue;

    /// <summary>Whether a subset of the offered features works; a FEATURES_OK on one that does not is refused (virtio 1.2 § 2.2).</summary>
    public virtual bool AcceptsFeatures(ulong features) => true;

    /// <summary>The activation in force; null before DRIVER_OK and after a reset.</summary>
    protected DeviceActivation? Activation { get; private set; }

    /// <summary>Declares the next queue. Constructors only.</summary>
    protected void AddQueue(string name, ushort sizeMax, Action<VirtQueue> onKick)
    {
        _queues.Add(new QueueDefinition(name, sizeMax, onKick));
        _statistics.Add(new QueueStatistics());
    }

    /// <summary>The driver is ready: features are settled. Queues start after this.</summary>
    protected virtual void OnActivate(DeviceActivation activation)
    {
    }

    /// <summary>A queue can be popped from now on. It is served once right after, as if kicked. On the queue's thread, as all that follows.</summary>
    /// <param name="queue">The queue.</param>
    /// <param name="reactor">The reactor that serves it, for what the device watches on its behalf.</param>
    protected virtual void OnQueueStarted(VirtQueue queue, IReactor reactor)
    {
    }

    /// <summary>
    /// A queue gets no more kicks. Complete or cancel what is in flight: the queue is quiet when every popped chain was pushed, and the
    /// transport waits for that.
    /// </summary>
    protected virtual void OnQueueStopping(VirtQueue queue)
    {
    }

    /// <summary>A queue that was stopped is quiet: let go of what was kept for it.</summary>
    protected virtual void OnQueueStopped(VirtQueue queue)
    {
    }

    /// <summary>Every queue is quiet: forget the driver.</summary>
    protected virtual void OnReset()
    {
    }

    /// <summary>The driver wrote its configuration space. Runs on the device's reactor after the write took effect.</summary>
    protected virtual void OnConfigWritten(int offset, int length)
    {
    }

    /// <summary>
    /// Serves a queue as if it had been kicked: for something that happened on the host side, such as input for buffers that wait. On the
    /// queue's thread; nothing if the queue does not run.
    /// </summary>
    protected void ServeQueue(int index)
    {
        if ((uint)index < (uint)_running.Length) _running[index]?.Serve();
    }

    /// <summary>
    /// Ends a queue's turn from within its handler, which has more to do than others should wait for: it is called again in a later turn of the
    /// reactor, even if the driver has nothing new.
    /// </summary>
    protected void ContinueLater(VirtQueue queue)
    {
        ArgumentNullException.ThrowIfNull(queue);
        queue.BeginTurn(0);
        _running[queue.Index]?.ServeLater();
    }

    /// <summary>Transport: the driver is ready.</summary>
    public void Activate(DeviceActivation activation)
    {
        ArgumentNullException.ThrowIfNull(activation);
        Activation = activation;
        if (_running.Length != _queues.Count) _running = new KickSource?[_queues.Count];
        OnActivate(activation);
    }

    /// <summary>Transport: a queue starts; the device must be active and the queue not running.</summary>
    /// <param name="queue">The queue.</param>
    /// <param name="kick">
    /// What the driver's kicks ring. The reactor takes this descriptor over and closes it when the queue stops: hand in a duplicate if the
    /// transport needs it for longer.
    /// </param>
    /// <param name="reactor">The reactor that serves the queue; call on its thread.</param>
    public void StartQueue(VirtQueue queue, EventFd kick, IReactor reactor)
    {
        ArgumentNullException.ThrowIfNull(queue);
        ArgumentNullException.ThrowIfNull(kick);
        if (_running[queue.Index] is not null) throw new InvalidOperationException($"queue {queue.Index} of {Name} runs already");
        KickSource source = new(this, queue, kick);
        source.Start(reactor);
        _running[queue.Index] = source;
        try
        {
            OnQueueStarted(queue, reactor);
        }
        catch
        {
            // The host has nothing left for it, or a bug: the driver must not wait for this queue in silence.
            Activation?.Interrupt.SignalNeedsReset();
            source.HasFailed = true;
            throw;
        }
        // What the driver made available before the kick was watched must not wait for the next one.
        source.ServeLater();
    }

    /// <summary>Transport: a queue stops. Its kick is closed.</summary>
    /// <param name="index">The queue's number.</param>
    /// <param name="reactor">The reactor that serves it; call on its thread.</param>
    /// <param name="onQuiet">Called on that thread, now or later, when nothing of the queue is in flight any more.</param>
    public void StopQueue(int index, IReactor reactor, Action onQuiet)
    {
        ArgumentNullException.ThrowIfNull(reactor);
        ArgumentNullException.ThrowIfNull(onQuiet);
        if ((uint)index >= (uint)_running.Length || _running[index] is not { } source)
        {
            onQuiet();
            return;
        }
        _running[index] = null;
        source.Owner!.RemoveFrom(reactor);
        OnQueueStopping(source.Queue);
        if (source.HasFailed)
        {
            // What its handler had taken when it threw nobody gives back any more. The chains keep their memory mapped.
            OnQueueStopped(source.Queue);
            onQuiet();
            return;
        }
        source.Queue.WhenQuiet(() =>
        {
            OnQueueStopped(source.Queue);
            onQuiet();
        });
    }

    /// <summary>Transport: every queue is quiet and the driver is gone.</summary>
    public void Reset()
    {
        OnReset();
        Activation = null;
    }

    /// <summary>Transport: the driver wrote the configuration space.</summary>
    public void ConfigWritten(int offset, int length) => OnConfigWritten(offset, length);

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Releases what the device holds of the host.</summary>
    protected virtual void Dispose(bool disposing)
    {
    }

    /// <summary>
    /// A queue's doorbell: kick → serve, one virtual call. Beside the driver's eventfd there is one of our own for later turns: the driver's may be
    /// shared with a process that makes it block or empties it, so it is only ever waited for. While a reactor polls, kicks stay off, and it looks at the ring.
    /// </summary>
    private sealed class KickSource(VirtioDevice device, VirtQueue queue, EventFd kick) : Subscription<EventFd>(kick, Interest.Doorbell), IPolledSource
    {
        private Subscription<EventFd>? _again;
        /// <summary>The queue ran dry, and its driver was not asked to kick for the next chain.</summary>
        private bool _kicksStayOff;

        internal VirtQueue Queue => queue;

        /// <summary>A handler of it threw.</summary>
        internal bool HasFailed { get; set; }

        public override string Name => $"{device.Name}/{device._queues[queue.Index].Name}";

        public bool HasWork => _kicksStayOff && queue.HasAvailable;

        public bool StopLooking()
        {
            if (!_kicksStayOff) return false;
            _kicksStayOff = queue.EnableKicks();
            return _kicksStayOff;
        }

        /// <summary>Has a reactor watch both, as one subscriber.</summary>
        internal void Start(IReactor reactor)
        {
            Subscriber both = new(Name);
            try
            {
                OwnedBy(both).RegisterInto(reactor);
                _again = Interest.Doorbell.WithFd(new EventFd()).WithHandler(_ => ServeOrGiveUp()).OwnedBy(both).RegisterInto(reactor);
            }
            catch
            {
                both.RemoveFrom(reactor);
                Fd.Dispose();
                throw;
            }
        }

        /// <summary>Serves the queue until it is empty or its turn is over, with kicks switched off meanwhile.</summary>
        internal void Serve()
        {
            Action<VirtQueue> onKick = device._queues[queue.Index].OnKick;
            queue.BeginTurn(ChainsPerTurnMax);
            bool more;
            do
            {
                queue.DisableKicks();
                int left = queue.TurnBudget;
                queue.HasRunDry = false;
                onKick(queue);
                queue.Publish();
                // A handler that took nothing although there was something waits for its host side; asking it again at once would spin. One
                // that found nothing has not seen what came meanwhile, and for that no kick will come.
                _kicksStayOff = IsPolled && queue.HasRunDry;
                more = _kicksStayOff ? queue.HasAvailable : queue.EnableKicks() && (queue.TurnBudget != left || queue.HasRunDry);
            }
            while (more && queue.TurnBudget > 0);
            queue.EndTurn();
            if (more) ServeLater();
        }

        /// <summary>Serves the queue in a later turn, after the others had theirs.</summary>
        internal void ServeLater() => _again!.Fd.Signal();

        protected override void Dispatch(Readiness ready, IReactor reactor)
        {
            if (!_kicksStayOff) queue.CountKick();
            ServeOrGiveUp();
        }

        private void ServeOrGiveUp()
        {
            try
            {
                Serve();
            }
            catch
            {
                // A bug of the device. The reactor reports it and drops this queue; the driver must not wait for it in silence.
                HasFailed = true;
                device.Activation?.Interrupt.SignalNeedsReset();
                throw;
            }
        }
    }
}
