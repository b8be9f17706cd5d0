using Vmm.Events;
using Vmm.Events.Tasks;

namespace Vmm.Devices;

/// <summary>Where a queue stands: enough to go on with the same ring.</summary>
/// <param name="Size">Entries of the ring.</param>
/// <param name="AvailBase">As <see cref="QueueConfiguration.AvailBase"/>.</param>
/// <param name="UsedBase">As <see cref="QueueConfiguration.UsedBase"/>.</param>
internal readonly record struct QueuePosition(ushort Size, ushort AvailBase, ushort UsedBase)
{
    internal static QueuePosition Of(VirtQueue queue) => new(queue.Size, queue.AvailBase, queue.UsedBase);
}

/// <summary>
/// The life of a device, below every transport: its driver comes and goes, its queues start, stop, stand still and go on. This is the only
/// code that starts or stops a queue. Every member is for the thread of the device's own reactor; what a queue does happens on the thread
/// of the reactor that serves it.
/// </summary>
/// <remarks>
/// The phases of each queue:
/// <code>
/// Stopped ──TryStart──→ Running ──Stop──→ Stopping ──quiet──→ Held      (Pause, Disable: the worker is kept)
///    ↑                     ↑                  │                │ │
///    │                     └──────────────────│──TryStart──────┘ │      (at the same position of a ring of the same size; else a new
/// worker)
///    └────────────quiet, worker disposed──────┴──Stop(Reset)─────┘
/// </code>
/// </remarks>
/// <param name="device">The device.</param>
/// <param name="main">The device's own reactor.</param>
/// <param name="reactors">The reactor of each queue: see <see cref="ReactorsOf"/>.</param>
/// <param name="kickOf">Makes a duplicate of what the driver of a queue rings, for each start.</param>
/// <param name="onHostRefused">Called, on the thread of a queue, when the host has no descriptor or memory left to start it.</param>
internal sealed class DeviceRunner(
    VirtioDevice device, RemoteEndpoint main, RemoteEndpoint[] reactors, Func<int, EventFd> kickOf, Action<KernelException>? onHostRefused =
        null)
{
    private readonly Run[] _runs = [.. reactors.Select((remote, index) => new Run(index, remote))];
    private readonly Home[] _homes = [.. reactors.Prepend(main).Distinct().Select(remote => new Home(remote))];
    private DriverSession? _driver;
    private IReactor? _reactor;
    private bool _isPaused;

    /// <summary>The driver the device has; null if it has none.</summary>
    internal DriverSession? Driver => _driver;

    /// <summary>Whether any queue runs, or is not quiet yet.</summary>
    internal bool AnyRuns => Array.Exists(_runs, run => run.Phase is Phase.Running or Phase.Stopping);

    /// <summary>
    /// The reactor of each queue: those that its host named (see <see cref="DeviceReactors"/>), or the device's own for all.
    /// </summary>
    /// <exception cref="ArgumentException">The device's queues share state, or there is not one reactor for each queue.</exception>
    internal static RemoteEndpoint[] ReactorsOf(VirtioDevice device, RemoteEndpoint main, IReadOnlyList<RemoteEndpoint> named)
    {
        if (named.Count == 0)
        {
            RemoteEndpoint[] one = new RemoteEndpoint[device.Queues.Count];
            Array.Fill(one, main);
            return one;
        }
        if (!device.QueuesAreIndependent)
            throw new ArgumentException($"the queues of {device.Name} share state: one reactor has to serve them all", nameof(named));
        if (named.Count != device.Queues.Count)
            throw new ArgumentException(
                $"{named.Count} reactors for the {device.Queues.Count} queues of {device.Name}: name one for each queue", nameof(named));
        return [.. named];
    }

    /// <summary>Whether a queue runs, or is not quiet yet.</summary>
    internal bool Runs(int index) => _runs[index].Phase is Phase.Running or Phase.Stopping;

    /// <summary>Where a queue stopped last. It is quiet.</summary>
    internal QueuePosition? PositionOf(int index) => _runs[index].StoppedAt;

    /// <summary>Chains of a queue that were popped and not pushed.</summary>
    internal int InFlight(int index) => _runs[index].Queue?.InFlight ?? 0;

    /// <summary>
    /// Where a queue of a paused device takes its next chain; null if it is not served. Nothing of it is in flight, so it gives back there
    /// too.
    /// </summary>
    internal ushort? HeldAt(int index) =>
        _runs[index] is { IsPaused: true, Phase: Phase.Held, Queue: { FirstFault.Kind: GuestFaultKind.None } queue }
            ? queue.AvailBase
            : null;

    /// <summary>Paused from the start: queues that are started now stand still until <see cref="Resume"/>.</summary>
    internal void BeginPaused(DriverSession driver)
    {
        _isPaused = true;
        Begin(driver);
    }

    /// <summary>The driver is ready: features are settled. Queues start after this.</summary>
    internal void Begin(DriverSession driver)
    {
        IReactor reactor = driver.Reactor;
        _driver = driver = driver with { Reactor = SourcesOn(main, reactor, driver).Reactor };
        _reactor = reactor;
        try
        {
            device.Begin(driver);
        }
        catch
        {
            // A bug, or a host that has nothing left: the reactor reports it, and the driver does not wait in silence.
            driver.Interrupt.SignalNeedsReset();
            throw;
        }
    }

    /// <summary>
    /// Starts a queue that is quiet. One that stands still, and goes on where it stopped, keeps its worker. While the device is paused it
    /// starts when that ends.
    /// </summary>
    /// <param name="ring">The ring as the driver laid it out, and where it goes on.</param>
    /// <param name="fault">What is wrong with it.</param>
    internal bool TryStart(QueueConfiguration ring, out GuestFault fault)
    {
        Run run = _runs[ring.Index];
        QueueDefinition definition = device.Queues[ring.Index];
        DriverSession driver = _driver ?? throw new InvalidOperationException($"{device.Name} has no driver whose queue could start");
        if (run.Queue is not null) throw new InvalidOperationException($"queue {ring.Index} of {device.Name} runs already");
        QueueConfiguration whole = ring with
        {
            Name = definition.Name,
            Features = driver.Features,
            MeasureLatency = device.MeasureLatency,
            Kinds = device.RequestKinds.Count,
            Slow = device.SlowRequestsOf(ring.Index),
            Statistics = definition.Statistics,
            OnFault = device.ReportGuestFault,
        };
        EventFd? kick = _isPaused ? null : kickOf(ring.Index);
        if (!VirtQueue.TryCreate(whole, driver.Memory, driver.Interrupt, out VirtQueue? queue, out fault))
        {
            kick?.Dispose();
            return false;
        }
        if (run.StoppedAt != QueuePosition.Of(queue)) Forget(run);
        run.Queue = queue;
        run.Phase = Phase.Held;
        run.IsPaused = _isPaused;
        if (kick is not null) Go(run, queue, kick);
        return true;
    }

    /// <summary>Stops a queue. Harmless if it does not run.</summary>
    /// <param name="index">The queue's number.</param>
    /// <param name="reason">Why. After a reset the worker is gone; otherwise it is kept for a start at the same position.</param>
    /// <param name="then">Called here, now or later, when nothing of the queue is in flight any more.</param>
    internal void Stop(int index, QuiesceReason reason, Action then)
    {
        Run run = _runs[index];
        bool resets = reason == QuiesceReason.Reset;
        if (run.Phase == Phase.Stopped || (run.Phase == Phase.Held && !resets))
        {
            then();
            return;
        }
        run.WhenStopped += then;
        run.Resets |= resets;
        if (resets) run.IsPaused = false;
        if (run.Phase == Phase.Stopping) return;
        run.Phase = Phase.Stopping;
        Quiesce(run, reason);
    }

    /// <summary>Stops every queue, and keeps its ring: until <see cref="Resume"/> the device does not touch the guest.</summary>
    /// <param name="then">Called here, now or later, when nothing of any queue is in flight.</param>
    internal void Pause(Action then)
    {
        _isPaused = true;
        Countdown left = new(then);
        foreach (Run run in _runs)
        {
            if (run.Phase is not (Phase.Running or Phase.Stopping)) continue;
            run.IsPaused |= run.Phase == Phase.Running;
            Stop(run.Index, QuiesceReason.Pause, left.More());
        }
        left.Done();
    }

    /// <summary>Lets the queues go on that <see cref="Pause"/> stopped, and those that were to start meanwhile.</summary>
    internal void Resume()
    {
        _isPaused = false;
        foreach (Run run in _runs)
        {
            if (run.Phase == Phase.Stopping) run.WhenStopped += () => GoOn(run);
            else GoOn(run);
        }
    }

    /// <summary>The driver goes: every queue is reset, then the device forgets it.</summary>
    /// <param name="then">Called here, now or later, when that is done.</param>
    internal void Reset(Action then)
    {
        Countdown left = new(() =>
        {
            End();
            then();
        });
        foreach (Run run in _runs) Stop(run.Index, QuiesceReason.Reset, left.More());
        left.Done();
    }

    /// <summary>Does something with every queue that runs, on its thread.</summary>
    /// <param name="visit">What.</param>
    /// <param name="then">Called here, now or later, when every thread has done it.</param>
    internal void Visit(Action<VirtQueue> visit, Action then)
    {
        Countdown left = new(then);
        foreach (Run run in _runs)
        {
            if (run.Queue is not { } queue) continue;
            Action done = left.More();
            bool asked = OnQueueThread(run, _ =>
            {
                visit(queue);
                OnMain(run, done);
            });
            if (!asked) done();
        }
        left.Done();
    }

    /// <summary>As <see cref="Stop"/>, for several queues at once.</summary>
    internal async ReactorTask StopAsync(IEnumerable<int> indexes, QuiesceReason reason)
    {
        TaskSignal stopped = new();
        Countdown left = new(stopped.Set);
        foreach (int index in indexes) Stop(index, reason, left.More());
        left.Done();
        await stopped;
    }

    /// <summary>As <see cref="Reset"/>.</summary>
    internal async ReactorTask ResetAsync()
    {
        TaskSignal gone = new();
        Reset(gone.Set);
        await gone;
    }

    /// <summary>As <see cref="Visit"/>.</summary>
    internal async ReactorTask VisitAsync(Action<VirtQueue> visit)
    {
        TaskSignal visited = new();
        Visit(visit, visited.Set);
        await visited;
    }

    private void End()
    {
        _isPaused = false;
        if (_driver is null) return;
        _driver = null;
        device.End();
        foreach (Home home in _homes)
        {
            On(home.Remote, _ =>
            {
                home.Sources?.Remove();
                home.Sources = null;
            });
        }
    }

    /// <summary>What the device has watched on a reactor. On its thread.</summary>
    private DeviceSources SourcesOn(RemoteEndpoint remote, IReactor reactor, DriverSession driver) =>
        Array.Find(_homes, home => home.Remote == remote)!.Sources ??= new DeviceSources(device.Name, reactor, remote, driver.Interrupt);

    private void GoOn(Run run)
    {
        if (!run.IsPaused || _isPaused || run is not { Phase: Phase.Held, Queue: { } queue }) return;
        run.IsPaused = false;
        try
        {
            Go(run, queue, kickOf(run.Index));
        }
        catch (KernelException refused)
        {
            RefusedByHost(run, _driver!, refused);
        }
    }

    private void Go(Run run, VirtQueue queue, EventFd kick)
    {
        run.Phase = Phase.Running;
        DriverSession driver = _driver!;
        if (!OnQueueThread(run, reactor => Start(run, driver, queue, kick, reactor))) kick.Dispose();
    }

    /// <summary>On the queue's thread.</summary>
    private void Start(Run run, DriverSession driver, VirtQueue queue, EventFd kick, IReactor reactor)
    {
        QueueContext context = run.Context ??=
            new QueueContext(device, run.Index, driver, queue, SourcesOn(run.Remote, reactor, driver), run.Remote);
        device.ServedBy(run.Index, context);
        try
        {
            context.Start(queue, kick);
        }
        catch (KernelException refused)
        {
            RefusedByHost(run, driver, refused);
        }
        catch
        {
            driver.Interrupt.SignalNeedsReset();
            throw;
        }
    }

    /// <summary>
    /// The host has no descriptor or memory left for a queue: it does not run, and its driver does not wait in silence. Any thread.
    /// </summary>
    private void RefusedByHost(Run run, DriverSession driver, KernelException refused)
    {
        device.ReportHostFault(refused.Errno, "cannot start a queue", device.Queues[run.Index].Name);
        driver.Interrupt.SignalNeedsReset();
        onHostRefused?.Invoke(refused);
    }

    private void Quiesce(Run run, QuiesceReason reason)
    {
        bool asked = OnQueueThread(run, _ =>
        {
            if (run.Context is not { } context)
            {
                OnMain(run, () => Stopped(run, reason));
                return;
            }
            context.Stop(reason, () =>
            {
                if (reason == QuiesceReason.Reset || context.HasFailed) Discard(run, context);
                OnMain(run, () => Stopped(run, reason));
            });
        });
        // Its reactor has stopped, and took the kick with it.
        if (!asked) Stopped(run, QuiesceReason.Reset);
    }

    /// <summary>A queue is quiet.</summary>
    private void Stopped(Run run, QuiesceReason reason)
    {
        if (run.Resets && reason != QuiesceReason.Reset)
        {
            // The driver took the ring away while it was being paused.
            Quiesce(run, QuiesceReason.Reset);
            return;
        }
        if (run.Queue is { } queue)
        {
            run.StoppedAt = QueuePosition.Of(queue);
            if (!run.IsPaused)
            {
                queue.Dispose();
                run.Queue = null;
            }
        }
        run.Phase = run.Resets ? Phase.Stopped : Phase.Held;
        run.Resets = false;
        Action? then = run.WhenStopped;
        run.WhenStopped = null;
        then?.Invoke();
    }

    /// <summary>A ring starts that is not the one that was held: the worker of that one goes.</summary>
    private void Forget(Run run)
    {
        if (run.Context is null) return;
        QueueContext context = run.Context;
        run.Context = null;
        OnQueueThread(run, _ => context.Stop(QuiesceReason.Reset, context.Discard));
    }

    private void Discard(Run run, QueueContext context)
    {
        run.Context = null;
        device.ServedBy(run.Index, null);
        context.Discard();
    }

    private bool OnQueueThread(Run run, Action<IReactor> action) => On(run.Remote, action);

    private bool On(RemoteEndpoint remote, Action<IReactor> action)
    {
        if (remote != main) return remote.TryPost(new Call(action));
        action(_reactor!);
        return true;
    }

    /// <summary>Goes home from a queue's thread. If the device's reactor has stopped the device is as quiet as it will ever be.</summary>
    private void OnMain(Run run, Action action)
    {
        if (run.Remote == main) action();
        else main.TryPost(new Call(_ => action()));
    }

    private enum Phase
    {
        /// <summary>There is no ring, and no worker.</summary>
        Stopped,
        /// <summary>Kicks are served.</summary>
        Running,
        /// <summary>No kick is served any more; something is in flight still.</summary>
        Stopping,
        /// <summary>Quiet. The worker is kept, for a start at the same position; of a paused device the ring too.</summary>
        Held,
    }

    /// <summary>A reactor that serves the device.</summary>
    private sealed class Home(RemoteEndpoint remote)
    {
        internal RemoteEndpoint Remote => remote;

        /// <summary>What the device has watched there for the driver it has. Of that reactor's thread.</summary>
        internal DeviceSources? Sources;
    }

    /// <summary>One queue. Of the device's reactor; but while it runs or stops its context is its thread's.</summary>
    private sealed class Run(int index, RemoteEndpoint remote)
    {
        internal int Index => index;

        internal RemoteEndpoint Remote => remote;

        internal Phase Phase;
        internal QueueContext? Context;
        internal VirtQueue? Queue;
        internal QueuePosition? StoppedAt;

        /// <summary>It goes on when the device's pause ends.</summary>
        internal bool IsPaused;

        /// <summary>It is stopping for good, whatever it was stopped for at first.</summary>
        internal bool Resets;

        internal Action? WhenStopped;
    }

    /// <summary>Calls back once, when all that was counted is done.</summary>
    private sealed class Countdown(Action then)
    {
        private int _left = 1;

        internal Action More()
        {
            _left++;
            return Done;
        }

        internal void Done()
        {
            if (--_left == 0) then();
        }
    }

    private sealed class Call(Action<IReactor> action) : RemoteCall
    {
        protected override void Run(IReactor reactor) => action(reactor);
    }
}
