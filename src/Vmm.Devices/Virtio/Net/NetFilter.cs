using System.Buffers.Binary;

namespace Vmm.Devices;

/// <summary>
/// Which frames of the network the driver wants (virtio 1.2 § 5.1.6.5.1 to .3). Immutable: the control queue makes another, the receive
/// queues, each perhaps on a reactor of its own, read the one in force. Until the driver has said anything, it wants everything.
/// </summary>
internal sealed record NetFilter
{
    private const int AddressTextMax = 17;
    private const int VlanBytes = NetProtocol.VlanCount / 8;

    /// <summary>Most addresses of each table; a driver that names more gets all frames of that kind.</summary>
    internal const int AddressesMax = 64;

    /// <summary>Bytes of a frame that it looks at: both addresses, type, VLAN tag.</summary>
    internal const int HeadLength = 18;

    private const int TypeOffset = 12;
    private const int TagOffset = 14;
    private const ushort VlanType = 0x8100;
    private const int VlanMask = NetProtocol.VlanCount - 1;

    internal required MacAddress Address { get; init; }
    internal bool IsPromiscuous { get; init; } = true;
    internal bool AllMulticast { get; init; }
    internal bool AllUnicast { get; init; }
    internal bool NoMulticast { get; init; }
    internal bool NoUnicast { get; init; }
    internal bool NoBroadcast { get; init; }

    /// <summary>Further addresses of one station each; null for any.</summary>
    internal MacAddress[]? Unicast { get; init; } = [];

    /// <summary>Groups; null for any.</summary>
    internal MacAddress[]? Multicast { get; init; } = [];

    /// <summary>A bit for each VLAN whose frames are wanted; null for all.</summary>
    internal ulong[]? Vlans { get; init; }

    /// <summary>Whether a frame is wanted.</summary>
    /// <param name="head">Its start, <see cref="HeadLength"/> bytes, or all if it has fewer.</param>
    internal bool Accepts(ReadOnlySpan<byte> head)
    {
        if (IsPromiscuous) return true;
        if (Vlans is { } vlans && BinaryPrimitives.ReadUInt16BigEndian(head[TypeOffset..]) == VlanType)
        {
            if (head.Length < HeadLength) return false;
            int vlan = BinaryPrimitives.ReadUInt16BigEndian(head[TagOffset..]) & VlanMask;
            if ((vlans[vlan / 64] & (1UL << (vlan % 64))) == 0) return false;
        }
        MacAddress target = new(head);
        if (target == MacAddress.Broadcast) return !NoBroadcast;
        if (target.IsMulticast) return !NoMulticast && (AllMulticast || Multicast is not { } groups || groups.AsSpan().Contains(target));
        if (NoUnicast) return false;
        return AllUnicast || target == Address || Unicast is not { } stations || stations.AsSpan().Contains(target);
    }

    /// <summary>This, with a VLAN wanted or not.</summary>
    internal NetFilter WithVlan(int vlan, bool wanted)
    {
        ulong[] vlans = [.. Vlans ?? new ulong[NetProtocol.VlanCount / 64]];
        ulong bit = 1UL << (vlan % 64);
        vlans[vlan / 64] = wanted ? vlans[vlan / 64] | bit : vlans[vlan / 64] & ~bit;
        return this with { Vlans = vlans };
    }

    internal void Save(StateWriter to)
    {
        to.Add("address", Address.ToString());
        to.Add("promiscuous", IsPromiscuous);
        to.Add("all-multicast", AllMulticast);
        to.Add("all-unicast", AllUnicast);
        to.Add("no-multicast", NoMulticast);
        to.Add("no-unicast", NoUnicast);
        to.Add("no-broadcast", NoBroadcast);
        // What is not there means any.
        if (Unicast is not null) to.Add("unicast", BytesOf(Unicast));
        if (Multicast is not null) to.Add("multicast", BytesOf(Multicast));
        if (Vlans is null) return;
        byte[] vlans = new byte[VlanBytes];
        for (int i = 0; i < Vlans.Length; i++) BinaryPrimitives.WriteUInt64LittleEndian(vlans.AsSpan(i * sizeof(ulong)), Vlans[i]);
        to.Add("vlans", vlans);
    }

    internal static NetFilter Restore(StateReader from) => new()
    {
        Address = AddressOf(from, "address"),
        IsPromiscuous = from.Boolean("promiscuous"),
        AllMulticast = from.Boolean("all-multicast"),
        AllUnicast = from.Boolean("all-unicast"),
        NoMulticast = from.Boolean("no-multicast"),
        NoUnicast = from.Boolean("no-unicast"),
        NoBroadcast = from.Boolean("no-broadcast"),
        Unicast = Table(from, "unicast"),
        Multicast = Table(from, "multicast"),
        Vlans = VlansOf(from, "vlans"),
    };

    /// <summary>Reads one address.</summary>
    internal static MacAddress AddressOf(StateReader from, string name) =>
        MacAddress.TryParse(from.Text(name, AddressTextMax), out MacAddress address)
            ? address
            : throw from.Wrong(name, "is not an address such as 02:00:5e:10:00:01");

    private static byte[] BytesOf(MacAddress[] addresses)
    {
        byte[] bytes = new byte[addresses.Length * MacAddress.Length];
        for (int i = 0; i < addresses.Length; i++) addresses[i].CopyTo(bytes.AsSpan(i * MacAddress.Length));
        return bytes;
    }

    private static MacAddress[]? Table(StateReader from, string name)
    {
        if (!from.Has(name)) return null;
        byte[] bytes = from.Bytes(name, AddressesMax * MacAddress.Length);
        if (bytes.Length % MacAddress.Length != 0) throw from.Wrong(name, "ends in the middle of an address");
        return [.. bytes.Chunk(MacAddress.Length).Select(each => new MacAddress(each))];
    }

    private static ulong[]? VlansOf(StateReader from, string name)
    {
        if (!from.Has(name)) return null;
        byte[] bytes = from.Bytes(name, VlanBytes);
        if (bytes.Length != VlanBytes) throw from.Wrong(name, $"has {bytes.Length} bytes, not {VlanBytes}");
        return [.. bytes.Chunk(sizeof(ulong)).Select(each => BinaryPrimitives.ReadUInt64LittleEndian(each))];
    }
}
