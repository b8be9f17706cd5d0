using Microsoft.Extensions.Logging;

namespace Vmm.Devices.Kvm;

// The machine stands still: no guest instruction, and no device that touches the guest.
public sealed partial class KvmMachine
{
    private static readonly TimeSpan PauseTimeout = TimeSpan.FromSeconds(10);

    private readonly Lock _pauseLock = new();
    private bool _paused;
    private ulong _pausedClock;

    /// <summary>Whether the machine stands still.</summary>
    public bool IsPaused
    {
        get { lock (_pauseLock) return _paused; }
    }

    /// <summary>
    /// Stops the vCPUs between two guest instructions, then waits until no request is in flight. On return nothing of the machine runs; its clock
    /// stands. Any thread but a vCPU's or the reactor's.
    /// </summary>
    /// <exception cref="TimeoutException">A vCPU did not come out of the guest; the machine runs on.</exception>
    public void Pause()
    {
        lock (_pauseLock)
        {
            if (_paused) return;
            foreach (VcpuThread thread in _threads) thread.RequestPause();
            foreach (VcpuThread thread in _threads)
            {
                if (thread.WaitUntilPaused(PauseTimeout)) continue;
                foreach (VcpuThread other in _threads) other.Resume();
                throw new TimeoutException($"vCPU {thread.Index} does not come out of the guest within {PauseTimeout.TotalSeconds} s");
            }
            if (!Task.WaitAll([.. _transports.Select(transport => transport.PauseAsync())], PauseTimeout))
                _options.Logger.LogError("some device still has requests in flight {Seconds} s after the vCPUs stand still", PauseTimeout.TotalSeconds);
            _pausedClock = _vm.GetClock();
            _paused = true;
        }
    }

    /// <summary>Lets the machine run on, with its clock where it stood.</summary>
    public void Resume()
    {
        lock (_pauseLock)
        {
            if (!_paused) return;
            Task.WaitAll([.. _transports.Select(transport => transport.ResumeAsync())]);
            _vm.SetClock(_pausedClock);
            foreach (KvmVcpu vcpu in _vcpus) vcpu.TellPaused();
            _paused = false;
            foreach (VcpuThread thread in _threads) thread.Resume();
        }
    }
}
