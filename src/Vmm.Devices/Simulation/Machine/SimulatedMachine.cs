namespace Vmm.Devices.Simulation;

/// <summary>
/// A machine whose guest is simulated: vCPU threads that reach the devices of a <see cref="DeviceHost"/> by exits and ring real eventfds,
/// and a guest kernel in C# that drives them. It runs once.
/// </summary>
public sealed class SimulatedMachine : Machine
{
    /// <summary>Most devices of a machine, its console among them: each has a vector of its own.</summary>
    public const int InterruptsMax = SimulatedInterrupts.VectorCount;

    private const ushort PowerPort = 0xf4;
    private const ushort ProgressPort = 0xf8;

    private readonly SimulatedMachineOptions _options;
    private readonly SimulatedVcpu[] _vcpus;

    /// <summary>Puts a machine together around the devices of a host; nothing runs yet.</summary>
    /// <param name="host">
    /// Devices and console, on a <see cref="SimulatedBoard"/>; the console is the first serial port. It stays the caller's. The guest does
    /// not look for a device that is added after this.
    /// </param>
    /// <param name="options">What else it is made of; null for the defaults.</param>
    /// <exception cref="ArgumentException">The host or an option does not fit; the message says what.</exception>
    /// <exception cref="InvalidOperationException">The host has a machine already.</exception>
    public SimulatedMachine(DeviceHost host, SimulatedMachineOptions? options = null)
        : base(host ?? throw new ArgumentNullException(nameof(host)))
    {
        _options = options ?? new SimulatedMachineOptions();
        _options.Validate(host);
        SimulatedBoard board = host.Board as SimulatedBoard
            ?? throw new ArgumentException("a simulated machine around a host on another board: make the host with a SimulatedBoard",
                nameof(host));
        board.Ports.Add(PowerPort, DebugExitDevice.RangeLength, new DebugExitDevice(PowerOff));
        board.Ports.Add(ProgressPort, PhasePort.RangeLength, new PhasePort(_options.OnPhase));

        GuestKernel kernel = new(Describe(), _options.Vcpus);
        _vcpus = [.. Enumerable.Range(0, _options.Vcpus)
            .Select(i => new SimulatedVcpu(i, board.Memory, board.Interrupts, board.IoEventFds, kernel.Run))];
        foreach (SimulatedVcpu vcpu in _vcpus) AddVcpu(vcpu);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        foreach (SimulatedVcpu vcpu in _vcpus) vcpu.Dispose();
    }

    /// <inheritdoc/>
    private protected override void OnVcpuEnded(VcpuThread thread, VcpuEnd end) =>
        Finish(MachineEnd.Failed, $"vCPU {thread.Index} failed: {end.Failure?.Message ?? $"{end.Reason} {end.Code}"}");

    private BootInfo Describe() => new()
    {
        MemoryBytes = Host.Memory.Regions[0].Length,
        Devices = [.. Host.Devices.Select(hosted => new DeviceNode(hosted.Address, hosted.Line))],
        ConsolePort = Host.Serials[0].Address,
        ConsoleVector = Host.Serials[0].Line,
        PowerPort = PowerPort,
        PhasePort = ProgressPort,
        Interactive = _options.Interactive,
        Columns = _options.Columns,
        ShowProgress = _options.ShowProgress,
    };

    private void PowerOff(uint status) =>
        Finish(MachineEnd.PoweredOff, status == 0
            ? "the guest powered off" : "a command of the guest failed: its console says why", status);
}
