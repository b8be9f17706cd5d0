using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// What a card's driver asked for: the frames it wants, the pairs it uses, what the network may leave undone for it. It does so by commands
/// (virtio 1.2 § 5.1.6.5): class, command, data; then a byte for the answer. On the device's reactor; the filter is read by any queue.
/// </summary>
internal sealed class NetControl(NetDevice device, NetPairs pairs)
{
    internal static readonly GuestFault NoAnswer =
        new(GuestFaultKind.Request, "a network control command without a byte for its answer (§ 5.1.6.5)");

    private volatile NetFilter _filter = new() { Address = device.Address };
    private ulong _features;
    private ulong _guestOffloads;

    /// <summary>Which frames the driver wants. Any thread.</summary>
    internal NetFilter Filter => _filter;

    /// <summary>A driver came, and has asked for nothing yet.</summary>
    internal void Begin(ulong features)
    {
        _features = features;
        _filter = new NetFilter
        {
            Address = device.Address,
            Vlans = Has(NetProtocol.FeatureControlVlan) ? new ulong[NetProtocol.VlanCount / 64] : null,
        };
        SetOffloads(features & NetProtocol.GuestOffloads);
        // A driver asks for more than one pair by a command; without a control queue the rings that run say it.
        pairs.SetActive(Has(NetProtocol.FeatureMultiQueue) && !Has(NetProtocol.FeatureControl) ? pairs.Count : 1);
    }

    internal void Save(StateWriter to)
    {
        to.Add("active-pairs", (long)pairs.Active);
        to.Add("guest-offloads", _guestOffloads);
        _filter.Save(to.AddRecord("filter"));
    }

    /// <summary>Goes on as another process saved it, after <see cref="Begin"/>.</summary>
    internal void Restore(StateReader from)
    {
        int active = from.Int32("active-pairs", 1, pairs.Count);
        ulong offloads = from.UInt64("guest-offloads");
        if (!AreNegotiated(offloads))
            throw from.Wrong("guest-offloads", $"are 0x{offloads:x}, and not all of them were negotiated");
        _filter = NetFilter.Restore(from.Record("filter"));
        SetOffloads(offloads);
        pairs.SetActive(active);
    }

    /// <summary>Serves the control queue.</summary>
    internal void Serve(QueueContext context)
    {
        VirtQueue queue = context.Queue;
        while (queue.TryPop(out DescriptorChain? chain))
        {
            // First of all whether there is room for an answer: a command that can't be answered is not done.
            ChainWriter answer = chain.Writable;
            bool answers = answer.Remaining > 0
                && answer.TryWrite(Execute(chain.Readable) ? NetProtocol.ControlOk : NetProtocol.ControlError);
            queue.Push(chain, answers ? 1u : 0);
            if (!answers) queue.Fault(NoAnswer);
        }
    }

    /// <returns>False for a command that is unknown, not negotiated or out of range: nothing was changed.</returns>
    private bool Execute(ChainReader command)
    {
        if (!command.TryRead(out NetControlClass kind) || !command.TryRead(out byte what)) return false;
        return kind switch
        {
            NetControlClass.Receive => Has(NetProtocol.FeatureControlReceive) && SetReceiveMode((NetReceiveMode)what, ref command),
            NetControlClass.Mac when what == NetProtocol.MacTableSet => Has(NetProtocol.FeatureControlReceive) && SetTables(ref command),
            NetControlClass.Mac when what == NetProtocol.MacAddressSet => Has(NetProtocol.FeatureControlMac) && SetAddress(ref command),
            NetControlClass.Vlan => Has(NetProtocol.FeatureControlVlan) && SetVlan(what, ref command),
            NetControlClass.Announce when what == 0 => Has(NetProtocol.FeatureGuestAnnounce) && Announced(),
            NetControlClass.MultiQueue when what == 0 => Has(NetProtocol.FeatureMultiQueue) && SetPairs(ref command),
            NetControlClass.GuestOffloads when what == 0 => Has(NetProtocol.FeatureControlGuestOffloads) && SetGuestOffloads(ref command),
            _ => false,
        };
    }

    private bool SetReceiveMode(NetReceiveMode mode, ref ChainReader command)
    {
        if (mode > NetReceiveMode.AllMulticast && !Has(NetProtocol.FeatureControlReceiveExtra)) return false;
        if (!command.TryRead(out byte value) || value > 1) return false;
        bool on = value == 1;
        NetFilter? changed = mode switch
        {
            NetReceiveMode.Promiscuous => _filter with { IsPromiscuous = on },
            NetReceiveMode.AllMulticast => _filter with { AllMulticast = on },
            NetReceiveMode.AllUnicast => _filter with { AllUnicast = on },
            NetReceiveMode.NoMulticast => _filter with { NoMulticast = on },
            NetReceiveMode.NoUnicast => _filter with { NoUnicast = on },
            NetReceiveMode.NoBroadcast => _filter with { NoBroadcast = on },
            _ => null,
        };
        if (changed is null) return false;
        _filter = changed;
        return true;
    }

    private bool SetTables(ref ChainReader command)
    {
        if (!TryReadTable(ref command, out MacAddress[]? unicast) || !TryReadTable(ref command, out MacAddress[]? multicast)) return false;
        _filter = _filter with { Unicast = unicast, Multicast = multicast };
        return true;
    }

    /// <summary>Reads a table: a count and as many addresses.</summary>
    /// <param name="command">Behind the table after.</param>
    /// <param name="table">Null, which means any address, for one that is longer than what is kept of it.</param>
    private static bool TryReadTable(ref ChainReader command, out MacAddress[]? table)
    {
        table = null;
        if (!command.TryRead(out uint count)) return false;
        if (count > NetFilter.AddressesMax) return command.TrySkip((ulong)count * MacAddress.Length);
        MacAddress[] addresses = new MacAddress[count];
        Span<byte> bytes = stackalloc byte[MacAddress.Length];
        foreach (ref MacAddress address in addresses.AsSpan())
        {
            if (!command.TryRead(bytes)) return false;
            address = new MacAddress(bytes);
        }
        table = addresses;
        return true;
    }

    private bool SetAddress(ref ChainReader command)
    {
        Span<byte> bytes = stackalloc byte[MacAddress.Length];
        if (!command.TryRead(bytes)) return false;
        _filter = _filter with { Address = new MacAddress(bytes) };
        device.Config.Update(NetProtocol.ConfigMac, bytes);
        return true;
    }

    private bool SetVlan(byte what, ref ChainReader command)
    {
        if (what > NetProtocol.VlanRemove || !command.TryRead(out ushort vlan) || vlan >= NetProtocol.VlanCount) return false;
        _filter = _filter.WithVlan(vlan, wanted: what == NetProtocol.VlanAdd);
        return true;
    }

    private bool Announced()
    {
        device.ChangeStatus(status => (ushort)(status & ~NetProtocol.StatusAnnounce));
        return true;
    }

    private bool SetPairs(ref ChainReader command)
    {
        if (!command.TryRead(out ushort active) || active == 0 || active > pairs.Count) return false;
        pairs.SetActive(active);
        return true;
    }

    private bool SetGuestOffloads(ref ChainReader command) =>
        command.TryRead(out ulong offloads)
        // Only what was negotiated can be switched (§ 5.1.6.5.6.1).
        && AreNegotiated(offloads)
        && SetOffloads(offloads);

    private bool Has(ulong feature) => (_features & feature) != 0;

    private bool AreNegotiated(ulong offloads) => (offloads & ~(_features & NetProtocol.GuestOffloads)) == 0;

    /// <summary>Sets what the network may leave undone in frames for the guest.</summary>
    /// <param name="toGuest">As feature bits.</param>
    private bool SetOffloads(ulong toGuest)
    {
        Errno errno = device.Backend.Configure(NetProtocol.HeaderLength(_features), NetOffloadBits.ToGuest(toGuest));
        if (errno == Errno.None) _guestOffloads = toGuest;
        else device.ReportHostFault(errno, "cannot set up the network for its driver", device.Backend.Description);
        return errno == Errno.None;
    }
}
