using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.Kvm;

/// <summary>
/// A machine of KVM that boots Linux: vCPUs, and the chips of a PC that Linux needs beside the virtio devices of its host. Kicks and
/// interrupts stay in the kernel. It runs once; a run may have several boots (<see cref="StartsAgain"/>, <see cref="Reset"/>).
/// </summary>
public sealed partial class KvmMachine : Machine
{
    private readonly KvmBoard _board;
    private readonly List<IDisposable> _owned = [];
    private readonly List<KvmVcpu> _vcpus = [];
    private readonly List<KvmCpuidEntry[]> _cpuid = [];
    private (string Name, ISavedState Chip)[] _chips = [];
    private I8042Device? _keyboard;
    private ulong _pausedClock;

    /// <summary>
    /// Puts a machine together around the devices of a host, and loads its kernel, or what it was when it was saved; nothing runs yet.
    /// </summary>
    /// <param name="host">
    /// The devices, on a <see cref="KvmBoard"/>. The guest's console is the serial port at 0x3f8, if the host has one. A device that is
    /// added after this is found by the guest if <see cref="Plug"/> adds it.
    /// </param>
    /// <exception cref="ArgumentException">The host is not on a KVM board.</exception>
    /// <exception cref="KvmUnavailableException">There is no KVM, or none that can do this.</exception>
    /// <exception cref="BootException">The kernel or what goes with it can't be loaded.</exception>
    /// <exception cref="StateException">The snapshot is of a machine with other devices, needs what this host lacks, or makes no
    /// sense.</exception>
    public KvmMachine(DeviceHost host) : base(host ?? throw new ArgumentNullException(nameof(host)))
    {
        _board = host.Board as KvmBoard
            ?? throw new ArgumentException("a KVM machine around a host on another board: make the host with a KvmBoard", nameof(host));
        try
        {
            if (_board.Options.Restore is { } snapshot) GoOnFrom(snapshot);
            else Boot(_board.Options.Boot!);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    private void Boot(BootSource source)
    {
        TakesDevices = _board.Options.Acpi;
        foreach (HostedDevice hosted in Host.Devices) _events.SetPresent(hosted.Slot, true);
        _events.ForgetChanges();
        // The kernel is read while KVM makes the vCPUs.
        Task<KernelStart> kernel = Task.Run(() => LoadKernel(source));
        try
        {
            AddChips();
            for (int i = 0; i < _board.Options.Vcpus; i++)
                BootMsrs.Set(AddVcpu(i, GuestCpuid.For(_board.System, i, _board.Options.Vcpus)));
        }
        finally
        {
            // It writes to the memory, which is not given back before.
            ((Task)kernel).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing).GetAwaiter().GetResult();
        }
        // The others wait for the first one to start them (INIT and SIPI, by the local APICs in the kernel).
        kernel.GetAwaiter().GetResult().Enter(_vcpus[0], _board.Memory);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        EndSave();
        base.Dispose(disposing);
        for (int i = _owned.Count - 1; i >= 0; i--) _owned[i].Dispose();
        _owned.Clear();
    }

    /// <inheritdoc/>
    private protected override void OnPaused() => _pausedClock = _board.Vm.GetClock();

    /// <inheritdoc/>
    private protected override void OnResuming()
    {
        _board.Vm.SetClock(_pausedClock);
        foreach (KvmVcpu vcpu in _vcpus) vcpu.MarkPaused();
    }

    /// <inheritdoc/>
    private protected override void OnVcpuEnded(VcpuThread thread, VcpuEnd end)
    {
        if (end.Reason == VcpuEndReason.Shutdown)
            Crash(MachineEnd.TripleFault,
                $"vCPU {thread.Index} shut down after a triple fault: the guest's kernel crashed without a word{PlaceOf(thread)}");
        else
            Crash(MachineEnd.Failed, (end.Failure?.ToString() ?? _vcpus[thread.Index].Failure ?? $"vCPU {thread.Index} ended: "
                + $"{end.Reason} {end.Code}") + PlaceOf(thread));
    }

    /// <inheritdoc/>
    private protected override string DescribePlace(int index) => _vcpus[index].DescribePlace();

    private string PlaceOf(VcpuThread thread) => $"; vCPU {thread.Index}: {DescribePlace(thread.Index)}; last exits: {thread.LastExits}";

    private void AddChips()
    {
        Bus ports = _board.Ports;
        _keyboard = new I8042Device(GuestReset);
        CmosDevice clock = Own(new CmosDevice(interrupt: _board.Line((int)MachinePorts.ClockGsi)));
        _chips = [("keyboard-controller", _keyboard), ("clock", clock), ("events", _events)];
        ports.Add(MachinePorts.KeyboardController, I8042Device.RangeLength, _keyboard);
        ports.Add(MachinePorts.Clock, CmosDevice.RangeLength, clock);
        ports.Add(MachinePorts.AcpiPower, AcpiPowerControl.RangeLength, new AcpiPowerControl(PowerOff, GuestReset));
        ports.Add(MachinePorts.Events, MachineEvents.RangeLength, _events);
        ports.Add(MachinePorts.Panic, PvPanicDevice.RangeLength, new PvPanicDevice(Panicked, PanicEvents.Panicked));
        foreach ((ushort port, ulong length, string what) in MachinePorts.Absent)
        {
            if (Host.Serials.All(serial => serial.Address != port)) ports.Add(port, length, new AbsentDevice(what));
        }
    }

    private KernelStart LoadKernel(BootSource boot)
    {
        GuestMemory memory = _board.Memory;
        memory.TryWrite(ResetVector.Address, ResetVector.Code);
        memory.TryWrite(BootLayout.GenerationId, NewGeneration());
        if (_board.Options.Acpi)
        {
            DeviceSlots slots = _board.Slots;
            byte[] tables = AcpiTables.Build(BootLayout.AcpiTables, _board.Options.Vcpus,
                [.. Enumerable.Range(0, slots.Count).Select(slot => new VirtioNode(slots.AddressOf(slot), (uint)slots.LineOf(slot)))]);
            if (tables.Length > BootLayout.AcpiTablesMax || !memory.TryWrite(BootLayout.AcpiTables, tables))
                throw new InvalidOperationException($"the ACPI tables have {tables.Length} bytes");
        }
        else
        {
            string devices = string.Concat(Host.Devices.Select(hosted =>
                $" virtio_mmio.device=4K@0x{hosted.Address:x}:{hosted.Line}"));
            boot = boot with { CommandLine = boot.CommandLine + devices };
        }
        return boot.Load(memory, _board.Options.Acpi);
    }

    private KvmVcpu AddVcpu(int index, KvmCpuidEntry[] cpuid)
    {
        KvmVcpu vcpu = Own(_board.Vm.CreateVcpu(index));
        vcpu.SetCpuid(cpuid);
        _cpuid.Add(cpuid);
        _vcpus.Add(vcpu);
        AddVcpu(vcpu, index < _board.Options.Cpus.Count ? _board.Options.Cpus[index] : null);
        return vcpu;
    }

    private static byte[] NewGeneration()
    {
        byte[] generation = new byte[BootLayout.GenerationIdBytes];
        if (RandomCalls.Fill(generation) is var errno and not Errno.None) throw new KernelException("getrandom", errno);
        return generation;
    }

    private void PowerOff() => Finish(MachineEnd.PoweredOff, "the guest powered off");

    private void Panicked(PanicEvents events) => Crash(MachineEnd.Panicked, "the guest's kernel panicked");

    private T Own<T>(T part) where T : IDisposable
    {
        _owned.Add(part);
        return part;
    }
}
