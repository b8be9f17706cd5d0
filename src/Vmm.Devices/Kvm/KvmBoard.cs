namespace Vmm.Devices.Kvm;

/// <summary>
/// The board of a KVM machine: its VM with memory and interrupt controllers. Kicks and interrupts stay in the kernel (ioeventfd, irqfd).
/// Thread-safe.
/// </summary>
public sealed class KvmBoard : IMachineBoard, IMessageInterrupts, ISavedPlaces
{
    /// <summary>Most virtio devices of a machine: each has a pin of the I/O APIC.</summary>
    public const int DevicesMax = KvmVm.IoApicPins - (int)MachinePorts.FirstDeviceGsi;

    private readonly Lock _lock = new();
    private readonly Dictionary<int, KvmEdgeInterrupt> _lines = [];
    private readonly List<KvmEdgeInterrupt> _messages = [];
    private readonly Task<KvmVm> _vm;
    private KvmSystem? _system;

    /// <summary>
    /// Makes the board. The kernel takes a few milliseconds for a VM: it is made in the background, and what can go wrong with that is
    /// thrown by the first member that needs it.
    /// </summary>
    /// <exception cref="ArgumentException">An option is out of its range; the message says which.</exception>
    /// <exception cref="StateException">The memory of the snapshot it goes on from is not as it was saved.</exception>
    /// <exception cref="KernelException">The host has not enough memory or huge pages, or a processor is not for this process.</exception>
    public KvmBoard(KvmMachineOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        IReadOnlyList<int> processors = Processors.OfCallingThread();
        foreach (int cpu in options.Cpus)
        {
            if (!processors.Contains(cpu)) throw new KernelException($"cannot keep a vCPU on processor {cpu}", Errno.Invalid,
                $"this process may use {string.Join(", ", processors)}");
        }
        Options = options;
        Memory = options.Restore is { } saved ? saved.MapMemory(BootLayout.RegionsOf(options.MemoryBytes))
            : BootLayout.CreateMemory(options.MemoryBytes, options.Pages);
        _vm = Task.Run(MakeVm);
    }

    /// <inheritdoc/>
    public GuestMemory Memory { get; }

    /// <inheritdoc/>
    public Bus Mmio { get; } = new("mmio");

    /// <inheritdoc/>
    public Bus Ports { get; } = new("port");

    /// <inheritdoc/>
    public DeviceSlots Slots { get; } = new(BootLayout.Devices, (int)MachinePorts.FirstDeviceGsi, DevicesMax);

    /// <inheritdoc/>
    public IMessageInterrupts Messages => this;

    /// <inheritdoc/>
    /// <exception cref="KvmUnavailableException">There is no KVM, or none that can do this.</exception>
    public IIoEventFds Kicks
    {
        get
        {
            KvmVm vm = Vm;
            lock (_lock) return field ??= new KvmIoEventFds(vm);
        }
    }

    internal KvmMachineOptions Options { get; }

    /// <summary>The VM, once it is made.</summary>
    /// <exception cref="KvmUnavailableException">There is no KVM, or none that can do this.</exception>
    internal KvmVm Vm => _vm.GetAwaiter().GetResult();

    internal KvmSystem System => Vm.System;

    /// <inheritdoc/>
    /// <exception cref="KvmUnavailableException">There is no KVM, or none that can do this.</exception>
    public IInterrupt Line(int number)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)number, (uint)KvmVm.IoApicPins, nameof(number));
        KvmVm vm = Vm;
        lock (_lock)
        {
            if (!_lines.TryGetValue(number, out KvmEdgeInterrupt? line)) _lines.Add(number, line = new KvmEdgeInterrupt(vm, (uint)number));
            return line;
        }
    }

    int? ISavedPlaces.PlaceOf(string device) => Options.Restore?.PlaceOf(device);

    IInterrupt IMessageInterrupts.Route(ulong address, uint data)
    {
        KvmVm vm = Vm;
        lock (_lock)
        {
            KvmEdgeInterrupt message = new(vm, vm.AddMessageRoute(address, data));
            _messages.Add(message);
            return message;
        }
    }

    /// <inheritdoc/>
    public void Map(GuestRegion region)
    {
        ArgumentNullException.ThrowIfNull(region);
        KvmVm vm = Vm;
        lock (_lock)
        {
            if (!Memory.TryAdd(region, out string? refusal)) throw new ArgumentException(refusal, nameof(region));
            try
            {
                vm.AddMemory(region);
            }
            catch (KernelException refused)
            {
                // The memory has taken the region over: hold it for the caller before it goes.
                region.Hold();
                Memory.Remove(region.GuestAddress);
                throw new ArgumentException(refused.Message, nameof(region), refused);
            }
        }
    }

    /// <inheritdoc/>
    public void Unmap(GuestRegion region)
    {
        ArgumentNullException.ThrowIfNull(region);
        KvmVm vm = Vm;
        lock (_lock)
        {
            if (!Memory.Regions.Contains(region))
                throw new ArgumentException($"no memory region of this machine starts at 0x{region.GuestAddress:x}", nameof(region));
            // The guest first: its accesses become exits before anything is unmapped.
            vm.RemoveMemory(region);
            Memory.Remove(region.GuestAddress);
        }
    }

    /// <summary>Closes the VM and gives the memory back. Its vCPUs are disposed before.</summary>
    public void Dispose()
    {
        foreach (KvmEdgeInterrupt line in _lines.Values.Concat(_messages)) line.Dispose();
        // A VM that could not be made was reported to those who asked for it.
        ((Task)_vm).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing).GetAwaiter().GetResult();
        if (_vm.IsCompletedSuccessfully) Vm.Dispose();
        _system?.Dispose();
        Memory.Dispose();
    }

    private KvmVm MakeVm()
    {
        _system = KvmSystem.Open(Options.KvmPath);
        if (Options.Vcpus > _system.VcpusMax)
            throw new KvmUnavailableException(KvmUnavailableReason.MissingCapability,
                $"this KVM gives a machine {_system.VcpusMax} vCPUs at most, not {Options.Vcpus}");
        KvmVm vm = _system.CreateVm();
        try
        {
            // A hardware-reduced ACPI machine has neither 8259 nor 8254 (ACPI § 5.2.9, § 4.1): its kernel uses the timers of the local
            // APICs.
            vm.CreateInterruptControllers(legacy: !Options.Acpi);
            if (!Options.Acpi) vm.CreateTimer();
            vm.KeepDirtyPages();
            vm.SetMemory(Memory);
            return vm;
        }
        catch
        {
            vm.Dispose();
            throw;
        }
    }
}
