using Microsoft.Extensions.Logging;

namespace Vmm.Devices;

// What becomes of a machine whose guest crashes, and where a vCPU is while it runs.
public abstract partial class Machine
{
    private static readonly TimeSpan LookTimeout = TimeSpan.FromSeconds(1);

    private MachineResult? _crash;

    /// <summary>
    /// Whether a machine whose guest panicked, whose vCPU shut down after a triple fault or can't go on is kept as it is, paused, until it
    /// is stopped: for a look at its memory and registers with a debugger. Otherwise it ends.
    /// </summary>
    public bool PauseOnCrash { get; init; }

    /// <summary>Where a vCPU is now, in words: its registers and last exits. It is stopped for a moment. Any thread but a vCPU's.</summary>
    /// <param name="index">The vCPU's number.</param>
    /// <exception cref="TimeoutException">It did not come out of the guest.</exception>
    public string DescribeVcpu(int index)
    {
        VcpuThread thread = _threads[index];
        lock (_pauseLock)
        {
            if (!_paused) thread.RequestPause();
            try
            {
                if (!thread.WaitUntilPaused(LookTimeout)) throw new TimeoutException($"vCPU {index} does not come out of the guest");
                return $"{DescribePlace(index)}; last exits: {thread.LastExits}";
            }
            finally
            {
                if (!_paused) thread.Resume();
            }
        }
    }

    /// <summary>The registers of a vCPU that stands still or has ended, in words.</summary>
    private protected virtual string DescribePlace(int index) => "a place unknown";

    /// <summary>Ends the machine, or keeps it paused until it is stopped. On a vCPU's thread.</summary>
    private protected void Crash(MachineEnd end, string message)
    {
        if (!PauseOnCrash)
        {
            Finish(end, message);
            return;
        }
        if (Interlocked.CompareExchange(ref _crash, new MachineResult(end, message, 0), null) is not null) return;
        // At once, so that a kernel that panicked does not go on to reset the machine. The pause waits for this thread, so it is made on
        // another.
        RequestPause();
        _ = Task.Run(() =>
        {
            try
            {
                Pause();
                Host.Logging.CreateLogger<Machine>().LogError("{Message}; the machine is kept as it is until it is stopped", message);
            }
            catch (TimeoutException running)
            {
                _end.TrySetResult(new MachineResult(end, $"{message}; it can't be paused: {running.Message}", 0));
            }
        });
    }

    /// <summary>Whether it is kept as it is because its guest crashed.</summary>
    private protected bool HasCrashed => Volatile.Read(ref _crash) is not null;

    /// <summary>Has every vCPU stand still soon, and does not wait. Any thread.</summary>
    private protected void RequestPause()
    {
        foreach (VcpuThread thread in _threads) thread.RequestPause();
    }

    /// <summary>Ends the run; only the first call counts. One that is kept after a crash ends only when it is stopped, with what crashed
    /// it. Any thread.</summary>
    internal void Finish(MachineEnd end, string message, uint status = 0)
    {
        MachineResult? crash = Volatile.Read(ref _crash);
        if (crash is null || end is MachineEnd.Stopped or MachineEnd.Saved)
            _end.TrySetResult(crash ?? new MachineResult(end, message, status));
    }
}
