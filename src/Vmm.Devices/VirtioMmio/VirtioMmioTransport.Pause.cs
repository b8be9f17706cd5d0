namespace Vmm.Devices;

// A machine that stands still. The driver sees nothing of it.
public sealed partial class VirtioMmioTransport
{
    /// <summary>
    /// Stops every queue, and completes when none of them has a request in flight: until <see cref="ResumeAsync"/> the device does not
    /// touch the guest. For a machine whose vCPUs stand still. Any thread but a reactor's may wait for it.
    /// </summary>
    public Task PauseAsync()
    {
        TaskCompletionSource paused = new(TaskCreationOptions.RunContinuationsAsynchronously);
        return Post(_ => _runner.Pause(paused.SetResult)) ? paused.Task : Task.CompletedTask;
    }

    /// <summary>
    /// Lets the queues that <see cref="PauseAsync"/> stopped go on where they were, and completes when they are served again.
    /// </summary>
    public Task ResumeAsync()
    {
        TaskCompletionSource resumed = new(TaskCreationOptions.RunContinuationsAsynchronously);
        bool asked = Post(_ =>
        {
            // Each start serves the queue once: what the driver made available before the pause is not forgotten.
            _runner.Resume();
            resumed.SetResult();
        });
        return asked ? resumed.Task : Task.CompletedTask;
    }
}
