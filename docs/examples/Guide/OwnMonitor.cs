using Vmm.Devices;
using Vmm.Devices.Kvm;
using Vmm.Events;

namespace Vmm.Examples.Guide;

/// <summary>
/// Guide 6: a monitor that is put together by hand. One vCPU, a clock and a power switch of ours, a port of its own whose accesses are
/// exits, and a doorbell whose kick and interrupt never leave the kernel.
/// </summary>
public sealed class OwnMonitor : IDisposable
{
    private const ulong MemoryBytes = 64 << 20;
    private const ushort ClockPort = 0x70, PowerPort = 0x600, CounterPort = 0x510, DoorbellPort = 0x520;
    private const uint DoorbellPin = 5;

    private readonly KvmSystem _kvm;
    private readonly KvmVm _vm;
    private readonly GuestMemory _memory;
    private readonly KvmVcpu _vcpu;
    private readonly CmosDevice _clock = new();
    private readonly KvmEdgeInterrupt _interrupt;
    private readonly ReactorThread _reactor = new();
    private readonly VcpuThread _thread;
    private readonly TaskCompletionSource<VcpuEnd> _end = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Loads a kernel: a vmlinux or a bzImage.</summary>
    public OwnMonitor(string kernel)
    {
        // A VM: memory, interrupt controllers, one vCPU that starts the kernel.
        _kvm = KvmSystem.Open();
        _vm = _kvm.CreateVm();
        _memory = LinuxBoot.CreateMemory(MemoryBytes);
        _vm.SetMemory(_memory);
        _vm.CreateInterruptControllers();
        _vm.CreateTimer();
        _vcpu = _vm.CreateVcpu(0);
        LinuxBoot.PrepareVcpu(_vcpu, vcpus: 1);
        new BootSource(kernel).Load(_memory).Enter(_vcpu, _memory);

        // Devices: ours and your own on the same bus. Each access is an exit, and a call on the vCPU's thread.
        Bus ports = new("port"), mmio = new("mmio");
        ports.Add(ClockPort, CmosDevice.RangeLength, _clock);
        Action stop = () => _thread!.RequestStop();
        ports.Add(PowerPort, AcpiPowerControl.RangeLength, new AcpiPowerControl(onPowerOff: stop, onReset: stop));
        ports.Add(CounterPort, 1, Counter);

        // A doorbell: the guest's write signals an eventfd, the reactor answers by another, and the vCPU's thread does not notice.
        EventFd doorbell = new();
        _vm.AddIoEvent(new KvmIoEvent(DoorbellPort, 1, IsPort: true), doorbell);
        _interrupt = new KvmEdgeInterrupt(_vm, DoorbellPin);
        _reactor.Start();
        _reactor.Remote.Invoke(reactor => Interest.Kick.WithFd(doorbell).WithHandler(_ => _interrupt.Assert()).RegisterInto(reactor));

        _thread = new VcpuThread(_vcpu, mmio, ports, (_, end) => _end.TrySetResult(end));
    }

    /// <summary>The device of one port: it counts what is written there, and says how much that was.</summary>
    public CounterDevice Counter { get; } = new();

    /// <summary>Exits of the vCPU so far.</summary>
    public long Exits(VcpuExitKind kind) => _thread.ExitCount(kind);

    /// <summary>Runs the guest until it powers off, crashes, or is stopped by <see cref="Dispose"/>.</summary>
    public VcpuEnd Run()
    {
        _thread.Start();
        return _end.Task.GetAwaiter().GetResult();
    }

    /// <summary>Writes what the vCPU and the chips are. The guest does not run.</summary>
    public void Save(Stream stream)
    {
        StateWriter state = new();
        _vcpu.Save().WriteTo(state.AddRecord("vcpu"));
        _vm.SaveChips(state.AddRecord("chips"), legacy: true);
        state.WriteTo(stream);
    }

    /// <summary>Makes vCPU and chips what they were; memory is the caller's to keep.</summary>
    public void Restore(ReadOnlyMemory<byte> saved)
    {
        StateReader state = StateReader.Parse(saved, "the saved monitor");
        _vm.RestoreChips(state.Record("chips"), legacy: true);
        _vcpu.Restore(KvmVcpuState.Read(state.Record("vcpu")));
    }

    /// <summary>The general registers, to look at and to change while the guest does not run.</summary>
    public KvmRegs Registers
    {
        get => _vcpu.GetRegisters();
        set => _vcpu.SetRegisters(value);
    }

    /// <summary>Ends the guest. The reactor and the vCPU go first, what they use after them.</summary>
    public void Dispose()
    {
        _thread.Dispose();
        _reactor.Dispose();
        _interrupt.Dispose();
        _clock.Dispose();
        _vcpu.Dispose();
        _vm.Dispose();
        _kvm.Dispose();
        _memory.Dispose();
    }

    /// <summary>A device of one port.</summary>
    public sealed class CounterDevice : IBusDevice
    {
        private int _count;

        /// <summary>Bytes that the guest wrote.</summary>
        public int Count => Volatile.Read(ref _count);

        /// <inheritdoc/>
        public void Read(ulong offset, Span<byte> data) => data.Fill((byte)Count);

        /// <inheritdoc/>
        public void Write(ulong offset, ReadOnlySpan<byte> data) => Interlocked.Add(ref _count, data.Length);
    }
}
