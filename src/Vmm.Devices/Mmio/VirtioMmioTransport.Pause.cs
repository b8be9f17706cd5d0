using Vmm.Events;

namespace Vmm.Devices;

// A machine that stands still: queues are stopped as for a reset, but keep their rings, and start again where they were. The driver sees nothing of it.
public sealed partial class VirtioMmioTransport
{
    private readonly List<(MmioQueue Queue, VirtQueue Ring)> _pausedQueues = [];

    /// <summary>
    /// Stops every queue, and completes when none of them has a request in flight: until <see cref="ResumeAsync"/> the device does not touch the guest.
    /// For a machine whose vCPUs stand still. Any thread but a reactor's may wait for it.
    /// </summary>
    public Task PauseAsync()
    {
        TaskCompletionSource paused = new(TaskCreationOptions.RunContinuationsAsynchronously);
        bool asked = Post(reactor =>
        {
            _pausedQueues.AddRange(_queues.Where(queue => queue is { Ring: not null, Stopping: false }).Select(queue => (queue, queue.Ring!)));
            int running = _pausedQueues.Count;
            if (running == 0) paused.SetResult();
            foreach ((MmioQueue queue, _) in _pausedQueues)
            {
                OnReactorOf(queue, reactor, r => _device.StopQueue(queue.Index, r, () => OnMain(queue, () =>
                {
                    if (--running == 0) paused.SetResult();
                })));
            }
        });
        return asked ? paused.Task : Task.CompletedTask;
    }

    /// <summary>Starts the queues that <see cref="PauseAsync"/> stopped, and completes when they are served again.</summary>
    public Task ResumeAsync()
    {
        TaskCompletionSource resumed = new(TaskCreationOptions.RunContinuationsAsynchronously);
        bool asked = Post(reactor =>
        {
            // Each start rings the queue once: what the driver made available before the pause is not forgotten.
            foreach ((MmioQueue queue, VirtQueue ring) in _pausedQueues)
                OnReactorOf(queue, reactor, r => _device.StartQueue(ring, queue.Kick.Duplicate(), r));
            _pausedQueues.Clear();
            resumed.SetResult();
        });
        return asked ? resumed.Task : Task.CompletedTask;
    }
}
