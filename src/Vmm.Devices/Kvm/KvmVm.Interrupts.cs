namespace Vmm.Devices.Kvm;

// Interrupt controllers, and the wires from eventfds to them.
public sealed partial class KvmVm
{
    /// <summary>Pins of the I/O APIC, and so the global system interrupts (GSI) that exist without further routing.</summary>
    public const int IoApicPins = 24;

    /// <summary>Interrupts that KVM routes, pins and messages together (KVM_MAX_IRQ_ROUTES).</summary>
    private const int RoutesMax = 4096;
    private const int LegacyPins = 16;
    private const uint PrimaryPic = 0, SecondaryPic = 1, IoApic = 2;

    private readonly Lock _routing = new();
    private KvmIrqRoutingEntry[] _routes = [];
    private uint _nextMessageGsi = IoApicPins;

    /// <summary>
    /// Puts the interrupt controllers into the kernel: the two 8259, the I/O APIC and a local APIC for each vCPU made after.
    /// </summary>
    /// <param name="legacy">
    /// Whether the lower 16 pins go to the 8259 too, as on a PC. Not for a guest that sees none in its tables: it never masks it, and
    /// what it latched comes at the worst moment.
    /// </param>
    /// <exception cref="KvmUnavailableException">The kernel can't.</exception>
    public void CreateInterruptControllers(bool legacy = true)
    {
        _system.Require(KvmCapability.IrqChip);
        _system.Require(KvmCapability.IrqFd);
        _system.Require(KvmCapability.IoEventFd);
        Check(KvmCall.Control(_fd.Number, KvmRequest.KVM_CREATE_IRQCHIP), "KVM_CREATE_IRQCHIP");
        lock (_routing)
        {
            KvmIrqRoutingEntry[] routes = new KvmIrqRoutingEntry[IoApicPins + (legacy ? LegacyPins : 0)];
            for (uint gsi = 0; gsi < IoApicPins; gsi++)
            {
                routes[gsi] = PinRoute(gsi, IoApic, gsi);
                if (legacy && gsi < LegacyPins) routes[IoApicPins + gsi] = PinRoute(gsi, gsi < 8 ? PrimaryPic : SecondaryPic, gsi % 8);
            }
            SetRoutes(routes);
        }
    }

    /// <summary>Puts only the local APICs into the kernel; devices interrupt with messages, and the rest is the host program's.</summary>
    /// <param name="pins">GSIs kept for an I/O APIC in user space; messages start after them.</param>
    /// <exception cref="KvmUnavailableException">The kernel can't.</exception>
    public void CreateSplitInterruptControllers(int pins = IoApicPins)
    {
        _system.Require(KvmCapability.SplitIrqChip);
        KvmEnableCap enable = new() { Capability = (uint)KvmCapability.SplitIrqChip, Argument0 = (ulong)pins };
        Check(KvmCall.Control(_fd.Number, KvmRequest.KVM_ENABLE_CAP, ref enable), "cannot split the interrupt controllers");
        _nextMessageGsi = (uint)pins;
    }

    /// <summary>Puts the 8254 timer into the kernel. The interrupt controllers are there already.</summary>
    /// <exception cref="KvmUnavailableException">The kernel can't.</exception>
    public void CreateTimer()
    {
        _system.Require(KvmCapability.Pit2);
        KvmPitConfig config = new() { Flags = KvmPitConfig.SpeakerDummy };
        Check(KvmCall.Control(_fd.Number, KvmRequest.KVM_CREATE_PIT2, ref config), "KVM_CREATE_PIT2");
    }

    /// <summary>Adds a GSI whose interrupt is a message (MSI) to a local APIC.</summary>
    /// <param name="address">The message's address: 0xfee00000 with the destination in bits 12 to 19.</param>
    /// <param name="data">The message's data: the vector in bits 0 to 7.</param>
    /// <returns>The GSI, for <see cref="AddInterruptEvent"/>.</returns>
    public uint AddMessageRoute(ulong address, uint data)
    {
        lock (_routing)
        {
            if (_routes.Length >= RoutesMax) throw new InvalidOperationException($"a VM has no more than {RoutesMax} interrupt routes");
            uint gsi = _nextMessageGsi++;
            KvmIrqRoutingEntry route = new()
            {
                Gsi = gsi,
                Type = KvmIrqRoutingEntry.TypeMsi,
                MsiAddressLow = (uint)address,
                MsiAddressHigh = (uint)(address >> 32),
                MsiData = data,
            };
            SetRoutes([.. _routes, route]);
            return gsi;
        }
    }

    /// <summary>Has each signal of an eventfd raise an interrupt, in the kernel (KVM_IRQFD).</summary>
    /// <param name="gsi">A pin below <see cref="IoApicPins"/>, or what <see cref="AddMessageRoute"/> gave.</param>
    /// <param name="call">The eventfd. It may be closed later: that ends the wire.</param>
    /// <param name="resample">
    /// For a level-triggered line: the signal then holds the line up until the guest ends the interrupt; the kernel lowers the line,
    /// signals this eventfd, and a source with more to report signals <paramref name="call"/> again.
    /// </param>
    /// <exception cref="KernelException">There is no such interrupt.</exception>
    public void AddInterruptEvent(uint gsi, EventFd call, EventFd? resample = null)
    {
        ArgumentNullException.ThrowIfNull(call);
        if (resample is not null) _system.Require(KvmCapability.IrqFdResample);
        KvmIrqFd request = new()
        {
            Fd = (uint)call.Number,
            Gsi = gsi,
            Flags = resample is null ? 0 : KvmIrqFd.Resample,
            ResampleFd = (uint)(resample?.Number ?? 0),
        };
        Check(KvmCall.Control(_fd.Number, KvmRequest.KVM_IRQFD, ref request), $"cannot wire interrupt {gsi} to an eventfd");
    }

    /// <summary>
    /// Sets the level of a line (KVM_IRQ_LINE): a system call on the caller's thread, where an eventfd is only signalled.
    /// </summary>
    public void SetLine(uint gsi, bool high)
    {
        KvmIrqLevel level = new() { Gsi = gsi, Level = high ? 1u : 0 };
        Check(KvmCall.Control(_fd.Number, KvmRequest.KVM_IRQ_LINE, ref level), $"cannot set interrupt line {gsi}");
    }

    /// <summary>Sends a message interrupt now (KVM_SIGNAL_MSI).</summary>
    /// <returns>False if the guest has it masked or disabled.</returns>
    public bool SendMessage(ulong address, uint data)
    {
        KvmMsi message = new() { AddressLow = (uint)address, AddressHigh = (uint)(address >> 32), Data = data };
        int result = KvmCall.Control(_fd.Number, KvmRequest.KVM_SIGNAL_MSI, ref message);
        Check(result, "KVM_SIGNAL_MSI");
        return result > 0;
    }

    /// <summary>Gives KVM the whole table. Under the lock.</summary>
    private void SetRoutes(KvmIrqRoutingEntry[] routes)
    {
        KvmIrqRoutingHead head = new() { Count = (uint)routes.Length };
        Check(KvmCall.Control(_fd.Number, KvmRequest.KVM_SET_GSI_ROUTING, ref head, routes), "KVM_SET_GSI_ROUTING");
        _routes = routes;
    }

    private static KvmIrqRoutingEntry PinRoute(uint gsi, uint chip, uint pin) =>
        new() { Gsi = gsi, Type = KvmIrqRoutingEntry.TypeIrqChip, IrqChip = chip, Pin = pin };
}
