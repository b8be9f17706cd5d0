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
/// the other side. The transport calls the lifecycle members on the reactor that owns the device (queue members: that serves the queue).
/// </summary>
public abstract class VirtioDevice : IDisposable
{
    /// <summary>Most chains one queue may take before the others get their turn: a driver that keeps its ring full starves nobody.</summary>
    internal const int ChainsPerTurnMax = 256;

    private readonly List<QueueDefinition> _queues = [];
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

    /// <summary>Its configuration space. Thread-safe.</summary>
    public ConfigSpace Config { get; }

    /// <summary>The device-type feature bits it offers; the transport adds those of rings and of itself.</summary>
    public virtual ulong Features => 0;

    /// <summary>Whether a subset of the offered features works; a FEATURES_OK on one that does not is refused (virtio 1.2 § 2.2).</summary>
    public virtual bool AcceptsFeatures(ulong features) => true;

    /// <summary>The activation in force; null before DRIVER_OK and after a reset.</summary>
    protected DeviceActivation? Activation { get; private set; }

    /// <summary>Declares the next queue. Constructors only.</summary>
    protected void AddQueue(string name, ushort sizeMax, Action<VirtQueue> onKick) => _queues.Add(new QueueDefinition(name, sizeMax, onKick));

    /// <summary>The driver is ready: features are settled. Queues start after this.</summary>
    protected virtual void OnActivate(DeviceActivation activation)
    {
    }

    /// <summary>A queue can be popped from now on. It is served once right after, as if kicked.</summary>
    protected virtual void OnQueueStarted(VirtQueue queue)
    {
    }

    /// <summary>
    /// A queue gets no more kicks. Complete or cancel what is in flight: the queue is quiet when every popped chain was pushed, and the
    /// transport waits for that.
    /// </summary>
    protected virtual void OnQueueStopping(VirtQueue queue)
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

    /// <summary>Transport: the driver is ready.</summary>
    public void Activate(DeviceActivation activation)
    {
        ArgumentNullException.ThrowIfNull(activation);
        Activation = activation;
        if (_running.Length != _queues.Count) _running = new KickSource?[_queues.Count];
        OnActivate(activation);
    }

    /// <summary>Transport: a queue starts. The reactor takes the kick over; call on its thread.</summary>
    public void StartQueue(VirtQueue queue, EventFd kick, IReactor reactor)
    {
        ArgumentNullException.ThrowIfNull(queue);
        KickSource source = new(this, queue, kick);
        source.RegisterInto(reactor);
        _running[queue.Index] = source;
        OnQueueStarted(queue);
        // What the driver made available before the kick was watched must not wait for the next one.
        kick.Signal();
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
        reactor.Remove(source);
        OnQueueStopping(source.Queue);
        source.Queue.WhenQuiet(onQuiet);
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

    /// <summary>One kick: serve the queue until it is empty or its turn is over, with kicks switched off meanwhile.</summary>
    private void Serve(VirtQueue queue, EventFd kick)
    {
        Action<VirtQueue> onKick = _queues[queue.Index].OnKick;
        queue.BeginTurn(ChainsPerTurnMax);
        bool more;
        do
        {
            queue.DisableKicks();
            int left = queue.TurnBudget;
            onKick(queue);
            queue.Publish();
            // A handler that took nothing waits for its host side; asking it again at once would spin.
            more = queue.EnableKicks() && queue.TurnBudget != left;
        }
        while (more && queue.TurnBudget > 0);
        if (more) kick.Signal();
    }

    /// <summary>A queue's doorbell: kick → serve, one virtual call.</summary>
    private sealed class KickSource(VirtioDevice device, VirtQueue queue, EventFd kick) : Subscription<EventFd>(kick, Interest.Doorbell)
    {
        internal VirtQueue Queue => queue;

        public override string Name => $"{device.Name}/{device._queues[queue.Index].Name}";

        protected override void Dispatch(Readiness ready, IReactor reactor)
        {
            queue.CountKick();
            device.Serve(queue, Fd);
        }
    }
}
