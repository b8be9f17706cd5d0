using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Vmm.Devices;

/// <summary>A queue as a device declares it.</summary>
public sealed class QueueDefinition
{
    internal QueueDefinition(string name, ushort sizeMax, Func<QueueContext, QueueWorker> makeWorker)
    {
        Name = name;
        SizeMax = sizeMax;
        MakeWorker = makeWorker;
    }

    /// <summary>For messages and measurements: <c>requests</c>, <c>receive</c>.</summary>
    public string Name { get; }

    /// <summary>Most entries the driver may give it.</summary>
    public ushort SizeMax { get; }

    /// <summary>What the queue did so far. The counts survive resets; any thread may read them.</summary>
    public QueueStatistics Statistics => LazyInitializer.EnsureInitialized(ref _statistics, static () => new QueueStatistics());

    /// <summary>The same; null while the queue never started. Looking for it costs nothing.</summary>
    public QueueStatistics? StatisticsSoFar => Volatile.Read(ref _statistics);

    // Made when the queue starts or is asked for: a disk declares dozens of queues, of which a guest uses one or two.
    private QueueStatistics? _statistics;

    internal Func<QueueContext, QueueWorker> MakeWorker { get; }
}

/// <summary>
/// A virtio device. It declares its features, configuration and queues, and serves each queue by a <see cref="QueueWorker"/> or a method;
/// it does not know which transport or vCPU is on the other side. <see cref="OnDriver"/>, <see cref="OnDriverGone"/> and
/// <see cref="OnConfigWritten"/> run on the device's own reactor, workers on the reactor of their queue: which is the same one, unless
/// <see cref="QueuesAreIndependent"/>.
/// </summary>
public abstract partial class VirtioDevice : IInspectable, IDisposable
{
    private static readonly string[] OneKind = ["request"];

    private readonly List<QueueDefinition> _queues = [];
    /// <summary>What serves each queue; empty before the first driver.</summary>
    private QueueContext?[] _serving = [];

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
    public IReadOnlyList<QueueStatistics> QueueStatistics => [.. _queues.Select(queue => queue.Statistics)];

    /// <summary>What all its queues did so far, together. Any thread; it allocates nothing.</summary>
    internal QueueTotals Totals
    {
        get
        {
            QueueTotals totals = default;
            foreach (QueueDefinition queue in _queues)
            {
                if (queue.StatisticsSoFar is { } done) totals = totals.With(done);
            }
            return totals;
        }
    }

    /// <summary>Requests that were taken and not given back yet, over all its queues: as of a moment ago. Any thread.</summary>
    public int InFlight
    {
        get
        {
            int count = 0;
            foreach (QueueContext? serving in Volatile.Read(ref _serving)) count += serving?.Queue.InFlight ?? 0;
            return count;
        }
    }

    /// <summary>
    /// The kinds of requests whose latencies are kept apart, for measurements: <c>read</c>, <c>write</c>. The first is for those of no
    /// kind.
    /// </summary>
    public virtual IReadOnlyList<string> RequestKinds => OneKind;

    /// <summary>Whether the time each request takes goes into its queue's latency histogram. Set before the driver is ready.</summary>
    public bool MeasureLatency { get; set; }

    /// <summary>
    /// How long a request may take before it becomes a span of the source <c>Vmm.Devices</c> (System.Diagnostics.ActivitySource), where
    /// latency is measured; zero for no spans. Set before the driver is ready.
    /// </summary>
    public TimeSpan SlowAfter { get; set; }

    /// <summary>Runner: reports what was slow in a queue; null if nothing is.</summary>
    internal SlowRequests? SlowRequestsOf(int queue) =>
        MeasureLatency && SlowAfter > TimeSpan.Zero ? new SlowRequests(Name, _queues[queue].Name, RequestKinds, SlowAfter) : null;

    /// <summary>Its configuration space. Thread-safe.</summary>
    public ConfigSpace Config { get; }

    /// <summary>
    /// What its driver may do a second, over all its queues; null for no limit. It may be set, and changed in itself, while the device
    /// runs; several devices may share one. Any thread.
    /// </summary>
    public RateLimit? Limit
    {
        get => Volatile.Read(ref _limit);
        set
        {
            RateLimit? before = Interlocked.Exchange(ref _limit, value);
            before?.WakeAll();
        }
    }

    private RateLimit? _limit;

    /// <summary>
    /// Where it says what went wrong. Set before the driver is ready. If it throws, what it was to log is lost, and nothing else.
    /// </summary>
    public ILogger Logger { get; set => field = SteadyLogger.Over(value); } = NullLogger.Instance;

    /// <summary>The device-type feature bits it offers; the transport adds those of rings and of itself.</summary>
    public virtual ulong Features => 0;

    /// <summary>
    /// Whether its queues share no state that is not thread-safe, so that each may be served by a reactor of its own. Otherwise all are
    /// served by the device's reactor.
    /// </summary>
    public virtual bool QueuesAreIndependent => false;

    /// <summary>
    /// Which of its independent queues go together: where there are several reactors, the queues of one group are served by the same.
    /// </summary>
    public virtual int QueueGroupOf(int queue) => queue;

    /// <summary>Whether a subset of the offered features works; a FEATURES_OK on one that does not is refused (virtio 1.2 § 2.2).</summary>
    public virtual bool AcceptsFeatures(ulong features) => true;

    /// <summary>
    /// The driver's features were accepted: the configuration it reads from now on may depend on them. On the thread that carries the
    /// acceptance, before <see cref="OnDriver"/>; the device does not run.
    /// </summary>
    protected internal virtual void OnFeaturesAccepted(ulong features)
    {
    }

    /// <summary>The driver it has; null before DRIVER_OK and after a reset.</summary>
    protected DriverSession? Driver { get; private set; }

    /// <summary>Declares the next queue. Constructors only.</summary>
    /// <param name="name">For messages and measurements: <c>requests</c>, <c>receive</c>.</param>
    /// <param name="sizeMax">Most entries the driver may give it.</param>
    /// <param name="worker">Makes the worker of the queue when it starts, on the thread of the reactor that serves it.</param>
    protected void AddQueue(string name, ushort sizeMax, Func<QueueContext, QueueWorker> worker) =>
        _queues.Add(new QueueDefinition(name, sizeMax, worker));

    /// <summary>Makes room for as many queues as are about to be declared: a disk has dozens.</summary>
    private protected void ReserveQueues(int count) => _queues.Capacity = count;

    /// <summary>Declares the next queue, of a device that keeps nothing between its turns. Constructors only.</summary>
    /// <param name="name">For messages and measurements: <c>requests</c>, <c>receive</c>.</param>
    /// <param name="sizeMax">Most entries the driver may give it.</param>
    /// <param name="serve">Serves the queue: pops what it can, pushes what is done. It need not publish.</param>
    protected void AddQueue(string name, ushort sizeMax, Action<QueueContext> serve) =>
        AddQueue(name, sizeMax, context => new SimpleWorker(context, serve));

    /// <summary>The driver is ready: features are settled. Queues start after this.</summary>
    protected virtual void OnDriver(DriverSession driver)
    {
    }

    /// <summary>The driver is gone, and every queue was reset: forget it.</summary>
    protected virtual void OnDriverGone()
    {
    }

    /// <summary>The driver wrote its configuration space. Runs on the device's reactor after the write took effect.</summary>
    protected virtual void OnConfigWritten(int offset, int length)
    {
    }

    /// <summary>
    /// The version of what <see cref="Save"/> writes. It rises when a value gets another meaning or disappears; a reader takes every
    /// version up to it.
    /// </summary>
    protected internal virtual int StateVersion => 1;

    /// <summary>
    /// Writes what the device knows beyond features, configuration space and positions of queues, which its transport writes: what a driver
    /// asked for, bytes in flight. Nothing of the host, such as a path. On the device's reactor; every queue stands still, and
    /// <see cref="QueueWorker.Quiesce"/> has put back what was not done.
    /// </summary>
    protected internal virtual void Save(StateWriter to)
    {
    }

    /// <summary>
    /// Reads back what <see cref="Save"/> wrote, in a device that was made with the same options, perhaps in another process. If the driver
    /// was ready it has come already (<see cref="OnDriver"/>), but no queue has started: workers are made when the machine goes on. Each
    /// value is read with its bounds, for the file may come from an enemy.
    /// </summary>
    /// <exception cref="StateException">A value does not fit.</exception>
    protected internal virtual void Restore(StateReader from)
    {
    }

    /// <inheritdoc/>
    /// <remarks>Of queues that another reactor serves the positions are those of a moment ago.</remarks>
    public virtual void Inspect(InspectNode node)
    {
        ArgumentNullException.ThrowIfNull(node);
        node.Add("name", Name);
        node.Add("type", Type.ToString());
        node.Add("guest-faults", GuestFaults);
        node.Add("host-faults", HostFaults);
        node.Add("driver", Driver is not null);
        node.Add("features", string.Join(' ', FeatureNames.Of(Type, Driver?.Features ?? Features)));
        InspectNode queues = node.AddNode("queues");
        for (int i = 0; i < _serving.Length; i++) _serving[i]?.Inspect(queues.AddNode($"{i}"));
    }

    /// <summary>
    /// Serves a queue as if it had been kicked, for something that happened in the device: see <see cref="QueueContext.ServeNow"/>. On the
    /// queue's thread; nothing if the queue does not run.
    /// </summary>
    protected internal void ServeQueue(int index)
    {
        if ((uint)index < (uint)_serving.Length) _serving[index]?.ServeNow();
    }

    /// <summary>
    /// Whether the requests of a queue count for <see cref="Limit"/>; those of control queues and of buffers that wait for input do
    /// not.
    /// </summary>
    protected virtual bool IsLimited(int queue) => true;

    /// <summary>Changes the configuration space, and has the driver look at it (virtio 1.2 § 2.5). Any thread.</summary>
    private protected void ChangeConfig(int offset, ReadOnlySpan<byte> bytes)
    {
        Config.Update(offset, bytes);
        Driver?.Interrupt.SignalConfig();
    }

    /// <summary>Finds the limit of a queue, at the start of each of its turns.</summary>
    internal Func<RateLimit?> LimitOfQueue(int queue) => IsLimited(queue) ? _findLimit ??= () => Limit : static () => null;

    private Func<RateLimit?>? _findLimit;

    /// <summary>Gives the device to its owner. One that is refused is disposed.</summary>
    internal TOwned HandTo<TOwned>(Func<VirtioDevice, TOwned> owner)
    {
        try
        {
            return owner(this);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Runner: the driver is ready.</summary>
    internal void Begin(DriverSession driver)
    {
        Driver = driver;
        if (_serving.Length == 0) _serving = new QueueContext?[_queues.Count];
        OnDriver(driver);
    }

    /// <summary>Runner: every queue is quiet and the driver is gone.</summary>
    internal void End()
    {
        OnDriverGone();
        Driver = null;
    }

    /// <summary>Runner: a queue is served from now on, on its thread; null: no more.</summary>
    internal void ServedBy(int index, QueueContext? context) => _serving[index] = context;

    /// <summary>Transport: the driver wrote the configuration space.</summary>
    internal void ConfigWritten(int offset, int length) => OnConfigWritten(offset, length);

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
}
