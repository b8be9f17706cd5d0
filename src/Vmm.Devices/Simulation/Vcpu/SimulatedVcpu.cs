namespace Vmm.Devices.Simulation;

/// <summary>
/// A vCPU whose guest software is C#: an asynchronous program that awaits the instructions of its <see cref="GuestCpu"/>. It runs on the
/// thread that calls <see cref="Run"/>, and nowhere else; a halt sleeps inside, as with an interrupt controller in the kernel.
/// </summary>
internal sealed class SimulatedVcpu : IVcpu
{
    private readonly GuestCpu _cpu;
    private readonly Func<GuestCpu, ValueTask> _program;
    private readonly Func<bool> _isExitRequested;
    private Task? _running;

    /// <summary>Makes a vCPU at the start of its program.</summary>
    /// <param name="index">Its number, from 0; an index into the controller's CPUs.</param>
    /// <param name="memory">The machine's memory.</param>
    /// <param name="interrupts">The machine's interrupt controller.</param>
    /// <param name="kicks">The machine's ioeventfds.</param>
    /// <param name="program">
    /// The guest software. It may await instructions of its CPU and its own methods, nothing else. When it ends, the vCPU shuts down.
    /// </param>
    public SimulatedVcpu(int index, GuestMemory memory, SimulatedInterrupts interrupts,
        SimulatedIoEventFds kicks, Func<GuestCpu, ValueTask> program)
    {
        _cpu = new GuestCpu(index, memory, interrupts, kicks);
        _program = program;
        _isExitRequested = () => _cpu.IsExitRequested;
    }

    public int Index => _cpu.Index;

    /// <summary>Interrupts this CPU got so far. Any thread.</summary>
    public long InterruptCount => _cpu.Interrupts.Raised;

    /// <inheritdoc/>
    /// <exception cref="InvalidOperationException">The program awaited something that no instruction of its CPU completes.</exception>
    public VcpuExit Run()
    {
        while (true)
        {
            if (_cpu.TakeExitRequest()) return new VcpuExit(VcpuExitKind.Interrupted, 0, default, 0);
            if (_cpu.IsHalted && !_cpu.Interrupts.HasPending)
            {
                _cpu.Interrupts.Sleep(_isExitRequested);
                continue;
            }
            Step();
            if (_running!.IsCompleted)
            {
                // A program that failed fails the vCPU, with its own exception.
                _running.GetAwaiter().GetResult();
                return new VcpuExit(VcpuExitKind.Shutdown, 0, default, 0);
            }
            if (!_cpu.IsSuspended)
                throw new InvalidOperationException($"the program of CPU {Index} awaits something that is not an instruction of its CPU");
            if (_cpu.Pending != VcpuExitKind.Interrupted) return new VcpuExit(_cpu.Pending, _cpu.Address, _cpu.Data, _cpu.Width);
        }
    }

    public void RequestExit() => _cpu.RequestExit();

    public void Dispose() => _cpu.Interrupts.Dispose();

    private void Step()
    {
        // Awaits inside of the program must go on right here, not where the caller's context would send them.
        if (SynchronizationContext.Current is { } context)
        {
            SynchronizationContext.SetSynchronizationContext(null);
            try
            {
                StepHere();
            }
            finally
            {
                SynchronizationContext.SetSynchronizationContext(context);
            }
            return;
        }
        StepHere();
    }

    private void StepHere()
    {
        if (_running is null) _running = _program(_cpu).AsTask();
        else if (!_running.IsCompleted) _cpu.Resume();
    }
}
