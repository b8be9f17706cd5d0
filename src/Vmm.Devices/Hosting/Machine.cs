using Microsoft.Extensions.Logging;

namespace Vmm.Devices;

/// <summary>
/// The vCPUs of a machine around the devices of a <see cref="DeviceHost"/>: each runs on a thread of its own and reaches the devices by
/// exits. A machine runs once. <see cref="Pause"/> and <see cref="Resume"/> are for any thread but a vCPU's or a reactor's.
/// </summary>
public abstract class Machine : IDisposable
{
    private static readonly TimeSpan PauseTimeout = TimeSpan.FromSeconds(10), LookTimeout = TimeSpan.FromSeconds(1);

    private readonly List<VcpuThread> _threads = [];
    private readonly Lock _pauseLock = new();
    private readonly TaskCompletionSource<MachineResult> _end = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _paused;
    private bool _isQuiet;
    private bool _pauseWanted;
    private int _holds;
    private MachineResult? _crash;

    private protected Machine(DeviceHost host) => Host = host;

    /// <summary>The devices. They stay the caller's, who disposes them after the machine.</summary>
    public DeviceHost Host { get; }

    /// <summary>The vCPUs' threads, with their counts of exits.</summary>
    public IReadOnlyList<VcpuThread> Vcpus => _threads;

    /// <summary>
    /// Whether a machine whose guest panicked, whose vCPU shut down after a triple fault or can't go on is kept as it is, paused, until it
    /// is stopped: for a look at its memory and registers with a debugger. Otherwise it ends.
    /// </summary>
    public bool PauseOnCrash { get; init; }

    /// <summary>Whether the machine stands still.</summary>
    public bool IsPaused
    {
        get { lock (_pauseLock) return _paused; }
    }

    /// <summary>
    /// Runs the machine until its guest ends it, it is stopped, or a vCPU fails; then brings the devices of the host to rest: requests in
    /// flight complete, what the guest printed is written. Once.
    /// </summary>
    /// <param name="stop">Stops the vCPUs where they are.</param>
    public MachineResult Run(CancellationToken stop = default)
    {
        using CancellationTokenRegistration registration = stop.UnsafeRegister(
            static machine => ((Machine)machine!).Finish(MachineEnd.Stopped, "stopped by the host"), this);
        OnStarting();
        foreach (VcpuThread thread in _threads) thread.Start();
        MachineResult result = _end.Task.GetAwaiter().GetResult();
        // The vCPUs first: after that no queue is kicked any more.
        StopVcpus();
        Host.StopAsync().GetAwaiter().GetResult();
        return result;
    }

    /// <summary>
    /// Stops the vCPUs between two guest instructions, then waits until no request is in flight. On return nothing of the machine runs.
    /// </summary>
    /// <exception cref="TimeoutException">A vCPU did not come out of the guest; the machine runs on.</exception>
    public void Pause()
    {
        lock (_pauseLock)
        {
            StandStill();
            _pauseWanted = true;
        }
    }

    /// <summary>Lets the machine run on where it stood; while it is saved, once that needs it no more.</summary>
    public void Resume()
    {
        lock (_pauseLock)
        {
            _pauseWanted = false;
            GoOnIfWanted();
        }
    }

    /// <summary>Has the machine stand still until <see cref="Release"/>, whatever it is asked for meanwhile.</summary>
    /// <exception cref="TimeoutException">A vCPU did not come out of the guest, or a device has requests in flight; the machine runs on
    /// if it did before.</exception>
    internal void Hold()
    {
        lock (_pauseLock)
        {
            StandStill();
            _holds++;
            if (_isQuiet) return;
            Release();
            throw new TimeoutException($"a device still has requests in flight {PauseTimeout.TotalSeconds} s after the vCPUs stand still");
        }
    }

    /// <summary>Ends what <see cref="Hold"/> began: the machine goes on unless it is paused.</summary>
    internal void Release()
    {
        lock (_pauseLock)
        {
            _holds--;
            GoOnIfWanted();
        }
    }

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

    /// <summary>Ends the vCPUs, if they run, and releases what the machine has beside its host.</summary>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <inheritdoc cref="Dispose()"/>
    protected virtual void Dispose(bool disposing) => StopVcpus();

    /// <summary>Gives the machine one more vCPU, before it runs.</summary>
    /// <param name="vcpu">It stays the caller's, who disposes it after the vCPUs were stopped.</param>
    /// <param name="cpu">The host's processor its thread is kept on; null: the scheduler decides.</param>
    private protected void AddVcpu(IVcpu vcpu, int? cpu = null) => _threads.Add(
        new VcpuThread(vcpu, Host.Board.Mmio, Host.Board.Ports, OnVcpuEnd, Host.Logging.CreateLogger<VcpuThread>(), cpu));

    /// <summary>A vCPU ended by itself: what that means for the machine.</summary>
    private protected abstract void OnVcpuEnded(VcpuThread thread, VcpuEnd end);

    /// <summary>The vCPUs run next.</summary>
    private protected virtual void OnStarting()
    {
    }

    /// <summary>Everything stands still.</summary>
    private protected virtual void OnPaused()
    {
    }

    /// <summary>The devices run again, the vCPUs are next.</summary>
    private protected virtual void OnResuming()
    {
    }

    /// <summary>Under the lock.</summary>
    private void StandStill()
    {
        if (_paused) return;
        RequestPause();
        foreach (VcpuThread thread in _threads)
        {
            if (thread.WaitUntilPaused(PauseTimeout)) continue;
            foreach (VcpuThread other in _threads) other.Resume();
            throw new TimeoutException($"vCPU {thread.Index} does not come out of the guest within {PauseTimeout.TotalSeconds} s");
        }
        _isQuiet = Host.PauseAsync().Wait(PauseTimeout);
        if (!_isQuiet)
        {
            Host.Logging.CreateLogger<Machine>().LogError(
                "a device still has requests in flight {Seconds} s after the vCPUs stand still", PauseTimeout.TotalSeconds);
        }
        OnPaused();
        _paused = true;
    }

    /// <summary>Under the lock.</summary>
    private void GoOnIfWanted()
    {
        if (!_paused || _pauseWanted || _holds > 0) return;
        Host.ResumeAsync().Wait();
        OnResuming();
        _paused = false;
        foreach (VcpuThread thread in _threads) thread.Resume();
    }

    private void OnVcpuEnd(VcpuThread thread, VcpuEnd end)
    {
        if (end.Reason != VcpuEndReason.Stopped) OnVcpuEnded(thread, end);
    }

    /// <summary>Whether the machine has ended, and why.</summary>
    private protected MachineResult? Ended => _end.Task.IsCompletedSuccessfully ? _end.Task.Result : null;

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

    private void StopVcpus()
    {
        foreach (VcpuThread thread in _threads) thread.RequestStop();
        foreach (VcpuThread thread in _threads) thread.Join(Timeout.InfiniteTimeSpan);
    }
}
