using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// What a transport has done on its device's reactor, by the device's runner: the driver's coming, the start and stop of queues, reset,
/// pause. Calls arrive there in the order of the register writes.
/// </summary>
internal sealed class MmioLifecycle(
    VirtioDevice device, GuestMemory memory, IVirtioInterrupt interrupt, RemoteEndpoint main, DeviceRunner runner)
{
    internal DeviceRunner Runner => runner;

    /// <summary>The driver is ready.</summary>
    /// <param name="features">What it accepted.</param>
    /// <param name="ready">The queues that start with it. One that is made ready from here on starts by itself.</param>
    internal void Activate(ulong features, MmioQueue[] ready) => Post(reactor =>
    {
        runner.Begin(SessionOf(features, reactor));
        foreach (MmioQueue queue in ready) Start(queue);
    });

    internal void StartQueue(MmioQueue queue) => Post(_ => Start(queue));

    /// <param name="queue">The queue.</param>
    /// <param name="then">Called on the reactor when nothing of it is in flight any more.</param>
    internal void StopQueue(MmioQueue queue, Action then) => Post(_ => runner.Stop(queue.Index, QuiesceReason.Reset, then));

    /// <returns>False if the reactor has stopped: then the device is as quiet as it will ever be.</returns>
    internal bool Reset(Action then) => Post(_ => runner.Reset(then));

    internal Task PauseAsync()
    {
        TaskCompletionSource paused = new(TaskCreationOptions.RunContinuationsAsynchronously);
        return Post(_ => runner.Pause(paused.SetResult)) ? paused.Task : Task.CompletedTask;
    }

    internal Task ResumeAsync()
    {
        TaskCompletionSource resumed = new(TaskCreationOptions.RunContinuationsAsynchronously);
        bool asked = Post(_ =>
        {
            // Each start serves the queue once: what the driver made available before the pause is not forgotten.
            runner.Resume();
            resumed.SetResult();
        });
        return asked ? resumed.Task : Task.CompletedTask;
    }

    /// <summary>The driver of a machine that was saved is here; its queues stand still. On the reactor.</summary>
    internal void BeginPaused(ulong features, IReactor reactor) => runner.BeginPaused(SessionOf(features, reactor));

    /// <summary>Starts a queue. On the reactor.</summary>
    /// <param name="queue">The queue.</param>
    /// <param name="position">Where it goes on; null for a fresh ring.</param>
    internal void Start(MmioQueue queue, ushort? position = null)
    {
        if (!runner.TryStart(queue.RingAt(position), out GuestFault fault)) device.ReportGuestFault(fault);
    }

    private DriverSession SessionOf(ulong features, IReactor reactor) => new(features, memory, interrupt, reactor, main);

    /// <summary>If the reactor has stopped, the machine is ending and no caller waits for this.</summary>
    private bool Post(Action<IReactor> action) => main.TryPost(new Call(action));

    private sealed class Call(Action<IReactor> action) : RemoteCall
    {
        protected override void Run(IReactor reactor) => action(reactor);
    }
}
