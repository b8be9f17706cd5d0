namespace Vmm.Devices.Simulation;

/// <summary>
/// A machine whose guest is simulated: vCPU threads that reach the devices of a <see cref="DeviceHost"/> by exits and ring real eventfds, and a
/// guest kernel in C# that drives them. It runs once.
/// </summary>
public sealed class SimulatedMachine : IDisposable
{
    /// <summary>Most devices of a machine, its console among them: each has a vector of its own.</summary>
    public const int InterruptsMax = SimulatedInterrupts.VectorCount;

    private const ushort PowerPort = 0xf4;
    private const ushort ProgressPort = 0xf8;

    private readonly SimulatedMachineOptions _options;
    private readonly DeviceHost _host;
    private readonly SimulatedIoEventFds _kicks = new();
    private readonly SimulatedVcpu[] _vcpus;
    private readonly VcpuThread[] _threads;
    private readonly TaskCompletionSource<MachineResult> _end = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Puts a machine together around the devices of a host; nothing runs yet.</summary>
    /// <param name="host">Its devices, its memory and its console, which is the first serial port. It stays the caller's; add no device after this.</param>
    /// <param name="options">What else it is made of; null for the defaults.</param>
    /// <exception cref="ArgumentException">The host or an option does not fit; the message says what.</exception>
    /// <exception cref="InvalidOperationException">The host has a machine already.</exception>
    public SimulatedMachine(DeviceHost host, SimulatedMachineOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(host);
        _options = options ?? new SimulatedMachineOptions();
        _options.Validate(host);
        _host = host;
        SimulatedInterrupts interrupts = new(_options.Vcpus);
        host.Ports.Add(PowerPort, DebugExitDevice.RangeLength, new DebugExitDevice(PowerOff));
        host.Ports.Add(ProgressPort, PhasePort.RangeLength, new PhasePort(_options.OnPhase));
        host.Connect(line => interrupts.Line(line), _kicks);

        GuestKernel kernel = new(Describe(), _options.Vcpus);
        _vcpus = [.. Enumerable.Range(0, _options.Vcpus).Select(i => new SimulatedVcpu(i, host.Memory, interrupts, _kicks, kernel.Run))];
        _threads = [.. _vcpus.Select(vcpu => new VcpuThread(vcpu, host.Mmio, host.Ports, OnVcpuEnd, _options.Logger))];
    }

    /// <summary>The vCPUs' threads, with their counts of exits.</summary>
    public IReadOnlyList<VcpuThread> Vcpus => _threads;

    /// <summary>Kicks that went from a vCPU straight into an eventfd. Any thread.</summary>
    public long DirectKicks => _kicks.Signals;

    /// <summary>
    /// Runs the machine until its guest powers off, it is stopped, or a vCPU fails; then brings the devices of the host to rest: what they have
    /// in flight completes, what the guest printed is written. Once.
    /// </summary>
    /// <param name="stop">Stops the vCPUs where they are.</param>
    public MachineResult Run(CancellationToken stop = default)
    {
        using CancellationTokenRegistration registration = stop.UnsafeRegister(
            static end => ((TaskCompletionSource<MachineResult>)end!).TrySetResult(new MachineResult(MachineEnd.Stopped)), _end);
        foreach (VcpuThread thread in _threads) thread.Start();
        MachineResult result = _end.Task.GetAwaiter().GetResult();
        // The vCPUs first, so that nobody kicks any more.
        StopVcpus();
        _host.StopAsync().GetAwaiter().GetResult();
        return result;
    }

    /// <summary>Ends the vCPUs, if they run.</summary>
    public void Dispose()
    {
        StopVcpus();
        foreach (SimulatedVcpu vcpu in _vcpus) vcpu.Dispose();
    }

    private void StopVcpus()
    {
        foreach (VcpuThread thread in _threads) thread.RequestStop();
        foreach (VcpuThread thread in _threads) thread.Join(Timeout.InfiniteTimeSpan);
    }

    private BootInfo Describe() => new()
    {
        MemoryBytes = _host.Memory.Regions[0].Length,
        Devices = [.. _host.Devices.Select(hosted => new DeviceNode(hosted.Address, hosted.Line.Number))],
        ConsolePort = _host.Serials[0].Address,
        ConsoleVector = _host.Serials[0].Line.Number,
        PowerPort = PowerPort,
        PhasePort = ProgressPort,
        Interactive = _options.Interactive,
        Columns = _options.Columns,
    };

    private void PowerOff(uint status) => _end.TrySetResult(new MachineResult(MachineEnd.PoweredOff, status));

    private void OnVcpuEnd(VcpuThread thread, VcpuEnd end)
    {
        if (end.Reason == VcpuEndReason.Stopped) return;
        Exception failure = end.Failure ?? new InvalidOperationException($"vCPU {thread.Index} ended: {end.Reason} {end.Code}");
        _end.TrySetResult(new MachineResult(MachineEnd.Failed, Failure: failure));
    }
}
