using System.Text;
using Microsoft.Extensions.Logging;
using Vmm.Events;

namespace Vmm.Devices.Simulation;

/// <summary>
/// A machine whose guest is simulated: virtio-mmio devices and a serial console on buses, vCPU threads that reach them by exits and ring real
/// eventfds, and a guest kernel in C# that drives them. It runs once.
/// </summary>
public sealed class SimulatedMachine : IDisposable
{
    /// <summary>First device register page: above any memory a machine can have.</summary>
    private const ulong MmioBase = 1UL << 40;

    // Where a PC has them.
    private const ushort ConsolePort = 0x3f8;
    private const int ConsoleVector = 4;
    private const ushort PowerPort = 0xf4;
    private const ushort PhasePortNumber = 0xf8;

    /// <summary>The vectors from here on are the devices', in their order.</summary>
    private const int DeviceVectorBase = 8;

    private static readonly TimeSpan StopTimeout = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan ConsoleFlushTimeout = TimeSpan.FromSeconds(2);

    private readonly SimulatedMachineOptions _options;
    private readonly RemoteEndpoint _remote;
    private readonly GuestMemory _memory;
    private readonly Bus _mmio = new("mmio");
    private readonly Bus _port = new("port");
    private readonly SimulatedInterrupts _interrupts;
    private readonly SimulatedIoEventFds _kicks = new();
    private readonly List<VirtioMmioTransport> _transports = [];
    private readonly SerialBackend _console;
    private readonly SimulatedVcpu[] _vcpus;
    private readonly VcpuThread[] _threads;
    private readonly TaskCompletionSource<MachineResult> _end = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Most virtio devices of a machine.</summary>
    public const int DevicesMax = SimulatedInterrupts.VectorCount - DeviceVectorBase;

    /// <summary>Puts a machine together; nothing runs yet.</summary>
    /// <param name="options">What it is made of.</param>
    /// <param name="devices">Its virtio devices. They stay the caller's.</param>
    /// <param name="remote">The reactor that serves devices and console. It must run until the machine was disposed.</param>
    /// <exception cref="ArgumentException">An option is out of its range; the message says which.</exception>
    public SimulatedMachine(SimulatedMachineOptions options, IReadOnlyList<VirtioDevice> devices, RemoteEndpoint remote)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(devices);
        ArgumentNullException.ThrowIfNull(remote);
        options.Validate();
        if (devices.Count > DevicesMax) throw new ArgumentException($"a machine of {devices.Count} devices: it has room for {DevicesMax}");
        _options = options;
        _remote = remote;
        _memory = GuestMemory.Create(options.MemoryBytes);
        _interrupts = new SimulatedInterrupts(options.Vcpus);

        Uart16550 uart = new(_interrupts.Line(ConsoleVector));
        _console = new SerialBackend(uart, remote, options.ConsoleInput, options.ConsoleOutput, options.Logger, Script(options));
        _port.Add(ConsolePort, uart.RangeLength, uart);
        _port.Add(PowerPort, DebugExitDevice.RangeLength, new DebugExitDevice(PowerOff));
        _port.Add(PhasePortNumber, PhasePort.RangeLength, new PhasePort(options.OnPhase));
        foreach (VirtioDevice device in devices) AddDevice(device);

        GuestKernel kernel = new(Describe(), options.Vcpus);
        _vcpus = [.. Enumerable.Range(0, options.Vcpus).Select(i => new SimulatedVcpu(i, _memory, _interrupts, _kicks, kernel.Run))];
        _threads = [.. _vcpus.Select(vcpu => new VcpuThread(vcpu, _mmio, _port, OnVcpuEnd, options.Logger))];
    }

    /// <summary>The vCPUs' threads, with their counts of exits.</summary>
    public IReadOnlyList<VcpuThread> Vcpus => _threads;

    /// <summary>Kicks that went from a vCPU straight into an eventfd.</summary>
    public long DirectKicks => _kicks.Signals;

    /// <summary>Runs the machine until its guest powers off, it is stopped, or a vCPU fails. Once.</summary>
    /// <param name="stop">Stops it: the vCPUs where they are, then the devices when what they have in flight is done.</param>
    public MachineResult Run(CancellationToken stop = default)
    {
        _remote.Invoke(_console.RegisterInto, cancellation: CancellationToken.None);
        using CancellationTokenRegistration registration = stop.UnsafeRegister(
            static end => ((TaskCompletionSource<MachineResult>)end!).TrySetResult(new MachineResult(MachineEnd.Stopped)), _end);
        foreach (VcpuThread thread in _threads) thread.Start();
        MachineResult result = _end.Task.GetAwaiter().GetResult();
        Quiesce();
        return result;
    }

    /// <summary>Releases the machine's memory, kicks and console.</summary>
    public void Dispose()
    {
        foreach (VcpuThread thread in _threads) thread.Dispose();
        foreach (SimulatedVcpu vcpu in _vcpus) vcpu.Dispose();
        foreach (VirtioMmioTransport transport in _transports) transport.Dispose();
        _remote.TryPost(new RemoveConsole(_console));
        _memory.Dispose();
    }

    private static ReadOnlyMemory<byte> Script(SimulatedMachineOptions options) =>
        options.Commands is null ? default : Encoding.UTF8.GetBytes(options.Commands + "\n");

    private void AddDevice(VirtioDevice device)
    {
        int index = _transports.Count;
        VirtioMmioTransport transport = new(device, _memory, _interrupts.Line(DeviceVectorBase + index), _remote);
        _transports.Add(transport);
        ulong registers = MmioBase + (ulong)index * VirtioMmioTransport.Length;
        _mmio.Add(registers, VirtioMmioTransport.Length, transport);
        for (int queue = 0; queue < device.Queues.Count; queue++)
            _kicks.Add(registers + MmioRegister.QueueNotify, sizeof(uint), (ulong)queue, transport.KickOf(queue));
    }

    private BootInfo Describe() => new()
    {
        MemoryBytes = _options.MemoryBytes,
        Devices = [.. _transports.Select((_, i) => new DeviceNode(MmioBase + (ulong)i * VirtioMmioTransport.Length, DeviceVectorBase + i))],
        ConsolePort = ConsolePort,
        ConsoleVector = ConsoleVector,
        PowerPort = PowerPort,
        PhasePort = PhasePortNumber,
        Interactive = _options.Interactive,
    };

    private void PowerOff(uint status) => _end.TrySetResult(new MachineResult(MachineEnd.PoweredOff, status));

    private void OnVcpuEnd(VcpuThread thread, VcpuEnd end)
    {
        if (end.Reason == VcpuEndReason.Stopped) return;
        Exception failure = end.Failure ?? new InvalidOperationException($"vCPU {thread.Index} ended: {end.Reason} {end.Code}");
        _end.TrySetResult(new MachineResult(MachineEnd.Failed, Failure: failure));
    }

    /// <summary>The vCPUs first, so that nobody kicks any more; then the devices, which finish what they have; then what the guest printed.</summary>
    private void Quiesce()
    {
        foreach (VcpuThread thread in _threads) thread.RequestStop();
        foreach (VcpuThread thread in _threads) thread.Join(Timeout.InfiniteTimeSpan);
        if (!Task.WaitAll([.. _transports.Select(transport => transport.StopAsync())], StopTimeout))
            _options.Logger.LogError("some device still has requests in flight {Seconds} s after the guest ended", StopTimeout.TotalSeconds);
        if (!_console.WaitForOutput(ConsoleFlushTimeout))
            _options.Logger.LogError("the console does not take what the guest printed last");
    }

    private sealed class RemoveConsole(SerialBackend console) : RemoteCall
    {
        protected override void Run(IReactor reactor)
        {
            console.RemoveFrom(reactor);
            console.Dispose();
        }

        protected override void Abandon(ReactorStoppedException reason) => console.Dispose();
    }
}
