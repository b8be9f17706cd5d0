using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// What the worker of a queue works with: the queue, the reactor that serves it, the budget of a turn, and the methods to be served
/// again. It lives as long as its worker. On the queue's thread, but for <see cref="ServeSoon"/>.
/// </summary>
public sealed class QueueContext
{
    private readonly VirtioDevice _device;
    private readonly DeviceSources _sources;
    private readonly Doorbell _soon;
    private QueueWorker? _worker;
    private QueueKick? _kick;
    private ReactorTimer? _tokens;

    internal QueueContext(
        VirtioDevice device, int index, DriverSession driver, VirtQueue queue, DeviceSources sources, RemoteEndpoint remote)
    {
        _sources = sources;
        sources.Queues.Add(this);
        _device = device;
        Index = index;
        Driver = driver;
        Queue = queue;
        Reactor = sources.Reactor;
        Remote = remote;
        _soon = remote.CreateDoorbell(_ => ServeNow());
        Turn = new TurnBudget { LimitOf = device.LimitOfQueue(index), Wake = ServeSoon };
    }

    /// <summary>The queue's number in its device.</summary>
    public int Index { get; }

    /// <summary>For messages and measurements: <c>vda/requests</c>.</summary>
    public string Name => $"{_device.Name}/{_device.Queues[Index].Name}";

    /// <summary>The queue. After a pause it may be another object for the same ring.</summary>
    public VirtQueue Queue { get; private set; }

    /// <summary>The driver that the queue belongs to.</summary>
    public DriverSession Driver { get; }

    /// <summary>
    /// The reactor that serves the queue, for what is watched on its behalf: what is added there goes when the driver goes, at the latest.
    /// </summary>
    public IReactor Reactor { get; }

    /// <summary>How other threads reach that reactor.</summary>
    public RemoteEndpoint Remote { get; }

    /// <summary>What the queue may do in one turn.</summary>
    public TurnBudget Turn { get; }

    /// <summary>
    /// Serves the queue at once, as if it had been kicked: for something that happened on the host side, such as input for buffers that
    /// wait. Nothing if the queue stands still: it is served when it goes on. An exception of the worker ends the queue as after a kick,
    /// and does not reach the caller.
    /// </summary>
    public void ServeNow() => _kick?.ServeFromHost();

    /// <summary>As <see cref="ServeNow"/>, at the end of the reactor's turn: once for all that happens in it. Any thread.</summary>
    public void ServeSoon() => _soon.TryRing();

    /// <summary>
    /// Ends the turn from within <see cref="QueueWorker.Serve"/>, because there is more to do than others should wait for: the queue is
    /// served again in a later turn of the reactor, even if the driver has nothing new.
    /// </summary>
    public void ServeLater()
    {
        Turn.Finish();
        // Without a token the timer serves it.
        if (Turn.HeldFor == TimeSpan.Zero) _kick?.ServeLater();
    }

    /// <summary>Shows the driver what was pushed outside of <see cref="QueueWorker.Serve"/>: once a batch.</summary>
    public void Publish() => Queue.Publish();

    /// <summary>Reports what the driver did wrong with this queue: the device needs a reset, and the queue gives no more chains.</summary>
    public void Fault(GuestFault fault) => Queue.Fault(fault);

    /// <summary>Reports that the host failed the device: a file, a socket. The guest gets an error status from the caller.</summary>
    /// <param name="error">What the host said.</param>
    /// <param name="what">What was asked of it: <c>cannot write to the disk</c>.</param>
    /// <param name="source">What failed, for the operator: the file, the socket.</param>
    public void HostFault(Errno error, string what, string source) => _device.ReportHostFault(error, what, source);

    /// <summary>Describes the queue. Any thread, which may see a moment ago.</summary>
    internal void Inspect(InspectNode node)
    {
        VirtQueue queue = Queue;
        node.Add("name", queue.Name);
        node.Add("reactor", Remote.ReactorName);
        node.Add("running", _kick is not null);
        node.Add("size", queue.Size);
        node.Add("next-available", queue.AvailBase);
        node.Add("next-used", queue.UsedBase);
        node.Add("in-flight", queue.InFlight);
        if (queue.FirstFault.Kind != GuestFaultKind.None) node.Add("fault", queue.FirstFault.Text);
        QueueStatistics done = queue.Statistics;
        node.Add("kicks", done.Kicks);
        node.Add("requests", done.Requests);
        node.Add("bytes", done.Bytes);
        node.Add("interrupts", done.Interrupts);
        node.Add("throttled-ms", (long)done.Throttled.TotalMilliseconds);
    }

    /// <summary>Whether the worker threw, or another handler of the device on this reactor.</summary>
    internal bool HasFailed { get; private set; }

    /// <summary>As <see cref="HasFailed"/>, while the queue runs.</summary>
    internal bool KickHasFailed => _kick is { HasFailed: true };

    /// <summary>A handler of the device threw, and the reactor watches nothing of it any more.</summary>
    internal void SourcesFailed()
    {
        if (_kick is { } kick) kick.HasFailed = true;
    }

    /// <summary>No token of a rate limit is left: serves the queue after a time.</summary>
    internal void AwaitTokens(TimeSpan time)
    {
        _tokens ??= ReactorTimers.Of(Reactor).Create((_, _) => _kick?.ServeOrGiveUp(), $"{Name}, rate limit").OwnedBy(_sources);
        _tokens.Arm(time);
    }

    /// <summary>Runs the queue, for the first time or again.</summary>
    /// <param name="queue">The queue, where it is to go on.</param>
    /// <param name="kick">What the driver rings; the reactor takes it over.</param>
    internal void Start(VirtQueue queue, EventFd kick)
    {
        Queue = queue;
        queue.Turn = Turn;
        QueueKick source = new(this, kick);
        source.Start();
        _kick = source;
        try
        {
            if (_worker is null) _worker = _device.Queues[Index].MakeWorker(this);
            else _worker.Resume();
        }
        catch
        {
            source.HasFailed = true;
            throw;
        }
        source.Worker = _worker;
        // What the driver made available before the kick was watched must not wait for the next one.
        source.ServeLater();
    }

    /// <summary>Stops the queue. Its kick is closed.</summary>
    /// <param name="reason">Why.</param>
    /// <param name="onQuiet">Called on this thread, now or later, when nothing of the queue is in flight any more.</param>
    internal void Stop(QuiesceReason reason, Action onQuiet)
    {
        if (_kick is not { } kick)
        {
            _worker?.Quiesce(reason);
            onQuiet();
            return;
        }
        _kick = null;
        Turn.Forget();
        _tokens?.Cancel();
        kick.Stop();
        _worker?.Quiesce(reason);
        HasFailed = kick.HasFailed;
        // What a worker had taken when it threw is never given back. The chains keep their memory mapped.
        if (HasFailed) onQuiet();
        else Queue.WhenQuiet(onQuiet);
    }

    /// <summary>The queue was reset and is quiet.</summary>
    internal void Discard()
    {
        _sources.Queues.Remove(this);
        _worker?.Dispose();
        _worker = null;
    }
}
