using Microsoft.Extensions.Logging;

namespace Vmm.Devices.Kvm;

/// <summary>
/// A machine of KVM that boots Linux: vCPUs, and the chips of a PC that Linux needs beside the virtio devices of its host. Kicks and
/// interrupts stay in the kernel. It runs once; a run may have several boots (<see cref="StartsAgain"/>, <see cref="Reset"/>).
/// </summary>
public sealed partial class KvmMachine : Machine
{
    private readonly KvmBoard _board;
    private readonly List<IDisposable> _owned = [];
    private readonly KvmProcessors _processors;
    private readonly KvmChips _chips;
    private readonly KvmSaver _saver;
    private KvmPowerOn? _powerOn;
    private bool _isRestored;

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
        _processors = new KvmProcessors(_board);
        _chips = Own(new KvmChips(GuestReset));
        _saver = Own(new KvmSaver(this, _board));
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
        foreach (HostedDevice hosted in Host.Devices) _chips.Events.SetPresent(hosted.Slot, true);
        _chips.Events.ForgetChanges();
        // The kernel is read while KVM makes the vCPUs.
        Task<KernelStart> kernel = Task.Run(() => LoadKernel(source));
        try
        {
            AddChips();
            for (int i = 0; i < _board.Options.Vcpus; i++)
                BootMsrs.Set(AddVcpu(GuestCpuid.For(_board.System, i, _board.Options.Vcpus)));
        }
        finally
        {
            // It writes to the memory, which is not given back before.
            ((Task)kernel).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing).GetAwaiter().GetResult();
        }
        // The others wait for the first one to start them (INIT and SIPI, by the local APICs in the kernel).
        kernel.GetAwaiter().GetResult().Enter(_processors[0], _board.Memory);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _saver.End();
        base.Dispose(disposing);
        for (int i = _owned.Count - 1; i >= 0; i--) _owned[i].Dispose();
        _owned.Clear();
    }

    private protected override void OnPaused() => _processors.Pause();

    private protected override void OnResuming() => _processors.GoOn();

    private protected override void OnStarting()
    {
        if (StartsAgain && !_isRestored) PrepareResets();
        if (!_isRestored) return;
        // The devices were restored as paused ones.
        Host.ResumeAsync().GetAwaiter().GetResult();
    }

    private protected override void OnVcpuEnded(VcpuThread thread, VcpuEnd end)
    {
        if (end.Reason == VcpuEndReason.Shutdown)
            Crash(MachineEnd.TripleFault,
                $"vCPU {thread.Index} shut down after a triple fault: the guest's kernel crashed without a word{PlaceOf(thread)}");
        else
            Crash(MachineEnd.Failed, (end.Failure?.ToString() ?? _processors[thread.Index].Failure ?? $"vCPU {thread.Index} ended: "
                + $"{end.Reason} {end.Code}") + PlaceOf(thread));
    }

    private protected override string DescribePlace(int index) => _processors[index].DescribePlace();

    private string PlaceOf(VcpuThread thread) => $"; vCPU {thread.Index}: {DescribePlace(thread.Index)}; last exits: {thread.LastExits}";

    /// <summary>Writes what the machine is, beside its memory. It stands still.</summary>
    internal void SaveState(StateWriter state, byte[] id)
    {
        RegionLayout[] expected = BootLayout.RegionsOf(_board.Options.MemoryBytes);
        if (!_board.Memory.Regions.Select(region => (region.GuestAddress, region.Length))
            .SequenceEqual(expected.Select(region => (region.GuestAddress, region.Length))))
            throw new InvalidOperationException("the machine's memory is not what it began with: regions were added or removed");
        StateWriter machine = state.AddRecord("machine");
        machine.Add(MachineSnapshot.IdName, id);
        machine.Add("vcpus", (long)_processors.All.Count);
        machine.Add("memory-bytes", (long)_board.Options.MemoryBytes);
        machine.Add("acpi", _board.Options.Acpi);
        machine.Add("saved-unix-ns", KvmProcessors.UnixNanoseconds);
        _processors.Save(state.AddRecord("kvm"));
        Host.Save(state.AddRecord("host"));
        _chips.Save(state.AddRecord("chips"), TakesDevices);
    }

    private void GoOnFrom(MachineSnapshot snapshot)
    {
        StateReader state = snapshot.Read();
        StateReader kvm = state.Record("kvm");
        AddChips();
        IReadOnlyList<StateReader> vcpus = kvm.Items("vcpus", KvmMachineOptions.VcpusMax);
        if (vcpus.Count != snapshot.Vcpus)
            throw kvm.Wrong("vcpus", $"has {vcpus.Count} records, and the machine has {snapshot.Vcpus} vCPUs");
        foreach (StateReader vcpu in vcpus) AddVcpu(_processors.CheckedCpuid(vcpu));
        _processors.Restore(kvm, vcpus, snapshot.SavedUnixNanoseconds, WarnOfRefused);
        Host.Restore(state.Record("host"));
        TakesDevices = _chips.Restore(state.Record("chips")) && snapshot.Acpi;
        state.Complete();
        _isRestored = true;
        _saver.Changes.GoOnFrom(snapshot);
        if (!snapshot.Acpi) return;
        // It is another machine than the one that was saved, and than others that go on from there: its guest is to renew what it draws
        // random numbers from.
        _board.Memory.TryWrite(BootLayout.GenerationId, NewGeneration());
        HaveGuestLook();
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

    private void AddChips() => _chips.AddTo(_board, Host.Serials, new AcpiPowerControl(PowerOff, GuestReset),
        new PvPanicDevice(Panicked, PanicEvents.Panicked));

    private KvmVcpu AddVcpu(KvmCpuidEntry[] cpuid)
    {
        int index = _processors.All.Count;
        KvmVcpu vcpu = Own(_processors.Add(cpuid));
        AddVcpu(vcpu, index < _board.Options.Cpus.Count ? _board.Options.Cpus[index] : null);
        return vcpu;
    }

    private void WarnOfRefused(int index, IReadOnlyList<uint> registers)
    {
        if (registers.Count == 0) return;
        Host.Logging.CreateLogger<KvmMachine>().LogWarning("vCPU {Index}: this KVM does not take the saved values of "
            + "model-specific registers {Registers}", index, string.Join(", ", registers.Select(register => $"0x{register:x}")));
    }

    internal static byte[] NewGeneration()
    {
        byte[] generation = new byte[BootLayout.GenerationIdBytes];
        if (RandomCalls.Fill(generation) is var errno and not Errno.None) throw new KernelException("getrandom", errno);
        return generation;
    }

    internal void ThrowIfEnded()
    {
        if (Ended is { } ended) throw new InvalidOperationException($"the machine has ended: {ended.Message}");
    }

    private void PowerOff() => Finish(MachineEnd.PoweredOff, "the guest powered off");

    private void Panicked(PanicEvents events) => Crash(MachineEnd.Panicked, "the guest's kernel panicked");

    private T Own<T>(T part) where T : IDisposable
    {
        _owned.Add(part);
        return part;
    }
}
