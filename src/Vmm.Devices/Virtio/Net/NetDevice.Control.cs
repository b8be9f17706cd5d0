namespace Vmm.Devices;

// Commands of the driver (virtio 1.2 § 5.1.6.5): class, command, data; then a byte for the answer.
public sealed partial class NetDevice
{
    internal static readonly GuestFault NoAnswer =
        new(GuestFaultKind.Request, "a network control command without a byte for its answer (§ 5.1.6.5)");

    private void ServeControl(QueueContext context)
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
        Config.Update(NetProtocol.ConfigMac, bytes);
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
        ChangeStatus(status => (ushort)(status & ~NetProtocol.StatusAnnounce));
        return true;
    }

    private bool SetPairs(ref ChainReader command)
    {
        if (!command.TryRead(out ushort pairs) || pairs == 0 || pairs > _pairs) return false;
        SetActivePairs(pairs);
        return true;
    }

    private bool SetGuestOffloads(ref ChainReader command) =>
        command.TryRead(out ulong offloads)
        // Only what was negotiated can be switched (§ 5.1.6.5.6.1).
        && (offloads & ~(Driver!.Features & NetProtocol.GuestOffloads)) == 0
        && SetOffloads(offloads);
}
