using Microsoft.Extensions.Logging;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.Kvm;

/// <summary>
/// A machine of KVM that boots Linux: vCPUs, virtio-mmio devices whose kicks and interrupts stay in the kernel, a serial console, power-off and reset.
/// It runs once.
/// </summary>
public sealed partial class KvmMachine : IDisposable
{
    /// <summary>Most virtio devices of a machine: each has a pin of the I/O APIC.</summary>
    public const int DevicesMax = KvmVm.IoApicPins - (int)MachinePorts.FirstDeviceGsi;

    private static readonly TimeSpan StopTimeout = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan ConsoleFlushTimeout = TimeSpan.FromSeconds(2);
    // Linux frees a queue's memory right after the reset, without looking whether the device is done with it.
    private static readonly TimeSpan ResetWait = TimeSpan.FromSeconds(1);

    private readonly KvmMachineOptions _options;
    private readonly RemoteEndpoint _remote;
    private readonly List<IDisposable> _owned = [];
    private readonly Bus _mmio = new("mmio");
    private readonly Bus _port = new("port");
    private readonly List<VirtioNode> _nodes = [];
    private readonly List<VirtioMmioTransport> _transports = [];
    private readonly List<KvmVcpu> _vcpus = [];
    private readonly List<VcpuThread> _threads = [];
    private readonly KvmVm _vm;
    private readonly KvmIoEventFds _kicks;
    private readonly SerialBackend _console;
    private readonly TaskCompletionSource<KvmMachineResult> _end = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Puts a machine together and loads its kernel; nothing runs yet.</summary>
    /// <param name="options">What it is made of.</param>
    /// <param name="devices">Its virtio devices. They stay the caller's.</param>
    /// <param name="remote">The reactor that serves devices and console. It must run until the machine was disposed.</param>
    /// <exception cref="ArgumentException">An option is out of its range; the message says which.</exception>
    /// <exception cref="KvmUnavailableException">There is no KVM, or none that can do this.</exception>
    /// <exception cref="BootException">The kernel or what goes with it can't be loaded.</exception>
    public KvmMachine(KvmMachineOptions options, IReadOnlyList<VirtioDevice> devices, RemoteEndpoint remote)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(devices);
        ArgumentNullException.ThrowIfNull(remote);
        options.Validate();
        if (devices.Count > DevicesMax) throw new ArgumentException($"a machine of {devices.Count} devices: it has room for {DevicesMax}");
        _options = options;
        _remote = remote;
        try
        {
            KvmSystem system = options.Vm?.System ?? Own(KvmSystem.Open(options.KvmPath));
            if (options.Vcpus > system.VcpusMax)
                throw new KvmUnavailableException(KvmUnavailableReason.MissingCapability, $"this KVM gives a machine {system.VcpusMax} vCPUs at most, not {options.Vcpus}");
            Memory = Own(BootLayout.CreateMemory(options.MemoryBytes));
            for (int i = 0; i < devices.Count; i++)
                _nodes.Add(new VirtioNode(BootLayout.Devices + (ulong)i * VirtioMmioTransport.Length, MachinePorts.FirstDeviceGsi + (uint)i));
            // The kernel is read while KVM makes the machine.
            Task<KernelStart> kernel = Task.Run(LoadKernel);
            try
            {
                _vm = options.Vm ?? CreateVm(system);
                _vm.SetMemory(Memory);
                _kicks = new KvmIoEventFds(_vm);
                _console = AddLegacyDevices();
                for (int i = 0; i < devices.Count; i++) AddDevice(devices[i], _nodes[i]);
                AddVcpus(system);
            }
            finally
            {
                // It writes to the memory, which is not given back before.
                ((Task)kernel).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing).GetAwaiter().GetResult();
            }
            EnterKernel(kernel.GetAwaiter().GetResult());
        }
        catch
        {
            DisposeOwned();
            throw;
        }
    }

    /// <summary>The guest's memory.</summary>
    public GuestMemory Memory { get; }

    /// <summary>The vCPUs' threads, with their counts of exits.</summary>
    public IReadOnlyList<VcpuThread> Vcpus => _threads;

    /// <summary>Runs the machine until its guest ends it, it is stopped, or a vCPU fails. Once.</summary>
    /// <param name="stop">Stops it: the vCPUs where they are, then the devices when what they have in flight is done.</param>
    public KvmMachineResult Run(CancellationToken stop = default)
    {
        _remote.Post(new AddConsole(_console));
        using CancellationTokenRegistration registration = stop.UnsafeRegister(
            static machine => ((KvmMachine)machine!).Finish(KvmMachineEnd.Stopped, "stopped by the host"), this);
        foreach (VcpuThread thread in _threads) thread.Start();
        KvmMachineResult result = _end.Task.GetAwaiter().GetResult();
        Quiesce();
        return result;
    }

    /// <summary>Releases the machine's memory, vCPUs, kicks and console.</summary>
    public void Dispose()
    {
        foreach (VcpuThread thread in _threads) thread.Dispose();
        _remote.TryPost(new RemoveConsole(_console));
        DisposeOwned();
    }

    private KvmVm CreateVm(KvmSystem system)
    {
        KvmVm vm = Own(system.CreateVm());
        // A hardware-reduced ACPI machine has neither 8259 nor 8254 (ACPI § 5.2.9, § 4.1): its kernel uses the timers of the local APICs.
        vm.CreateInterruptControllers(legacy: !_options.Acpi);
        if (!_options.Acpi) vm.CreateTimer();
        return vm;
    }

    private SerialBackend AddLegacyDevices()
    {
        Uart16550 uart = new(Own(new KvmEdgeInterrupt(_vm, MachinePorts.SerialGsi)));
        _port.Add(MachinePorts.Serial, uart.RangeLength, uart);
        _port.Add(MachinePorts.KeyboardController, I8042Device.RangeLength, new I8042Device(Reset));
        _port.Add(MachinePorts.Clock, CmosDevice.RangeLength, Own(new CmosDevice(interrupt: Own(new KvmEdgeInterrupt(_vm, MachinePorts.ClockGsi)))));
        _port.Add(MachinePorts.AcpiPower, AcpiPowerControl.RangeLength, new AcpiPowerControl(PowerOff, Reset));
        _port.Add(MachinePorts.Panic, PvPanicDevice.RangeLength, new PvPanicDevice(_ => Finish(KvmMachineEnd.Panicked, "the guest's kernel panicked"), PanicEvents.Panicked));
        foreach ((ushort port, ulong length, string what) in MachinePorts.Absent) _port.Add(port, length, new AbsentDevice(what));
        return new SerialBackend(uart, _remote, _options.ConsoleInput, _options.ConsoleOutput, _options.Logger);
    }

    private void AddDevice(VirtioDevice device, VirtioNode node)
    {
        KvmEdgeInterrupt interrupt = Own(new KvmEdgeInterrupt(_vm, node.Gsi));
        VirtioMmioTransport transport = Own(new VirtioMmioTransport(device, Memory, interrupt, _remote, new VirtioMmioOptions { ResetWait = ResetWait }));
        _transports.Add(transport);
        _mmio.Add(node.Address, VirtioMmioTransport.Length, transport);
        for (int queue = 0; queue < device.Queues.Count; queue++)
            _kicks.Add(node.Address + MmioRegister.QueueNotify, sizeof(uint), (ulong)queue, transport.KickOf(queue));
    }

    private KernelStart LoadKernel()
    {
        BootSource boot = _options.Boot;
        Memory.TryWrite(ResetVector.Address, ResetVector.Code);
        if (_options.Acpi)
        {
            byte[] tables = AcpiTables.Build(BootLayout.AcpiTables, _options.Vcpus, _nodes);
            if (tables.Length > BootLayout.AcpiTablesMax || !Memory.TryWrite(BootLayout.AcpiTables, tables))
                throw new InvalidOperationException($"the ACPI tables have {tables.Length} bytes");
        }
        else
        {
            string devices = string.Concat(_nodes.Select(node => $" virtio_mmio.device=4K@0x{node.Address:x}:{node.Gsi}"));
            boot = boot with { CommandLine = boot.CommandLine + devices };
        }
        return boot.Load(Memory, _options.Acpi);
    }

    private void AddVcpus(KvmSystem system)
    {
        for (int i = 0; i < _options.Vcpus; i++)
        {
            KvmVcpu vcpu = Own(_vm.CreateVcpu(i));
            vcpu.SetCpuid(GuestCpuid.For(system, i, _options.Vcpus));
            BootMsrs.Set(vcpu);
            _vcpus.Add(vcpu);
            _threads.Add(new VcpuThread(vcpu, _mmio, _port, OnVcpuEnd, _options.Logger));
        }
    }

    private void EnterKernel(KernelStart start)
    {
        Memory.TryGetSpan(0, (uint)BootLayout.HighMemory, out Span<byte> low);
        // The others wait for the first one to start them (INIT and SIPI, by the local APICs in the kernel).
        _vcpus[0].Enter(start.Mode, low, start.Registers);
    }

    private void PowerOff() => Finish(KvmMachineEnd.PoweredOff, "the guest powered off");

    private void Reset() => Finish(KvmMachineEnd.Reset, "the guest reset the machine: it rebooted, or its kernel panicked");

    private void OnVcpuEnd(VcpuThread thread, VcpuEnd end)
    {
        switch (end.Reason)
        {
            case VcpuEndReason.Stopped:
                break;
            case VcpuEndReason.Shutdown:
                Finish(KvmMachineEnd.TripleFault, $"vCPU {thread.Index} shut down after a triple fault: the guest's kernel crashed without a word");
                break;
            default:
                string what = end.Failure?.ToString() ?? _vcpus[thread.Index].Failure ?? $"vCPU {thread.Index} ended: {end.Reason} {end.Code}";
                Finish(KvmMachineEnd.Failed, what);
                break;
        }
    }

    private void Finish(KvmMachineEnd end, string message) => _end.TrySetResult(new KvmMachineResult(end, message));

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

    private T Own<T>(T part) where T : IDisposable
    {
        _owned.Add(part);
        return part;
    }

    private void DisposeOwned()
    {
        for (int i = _owned.Count - 1; i >= 0; i--) _owned[i].Dispose();
        _owned.Clear();
    }

    private sealed class AddConsole(SerialBackend console) : RemoteCall
    {
        protected override void Run(IReactor reactor) => console.RegisterInto(reactor);
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
