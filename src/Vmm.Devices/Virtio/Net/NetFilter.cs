using System.Buffers.Binary;

namespace Vmm.Devices;

/// <summary>
/// Which frames of the network the driver wants (virtio 1.2 § 5.1.6.5.1 to .3). Immutable: the control queue makes another, the receive
/// queues, each perhaps on a reactor of its own, read the one in force. Until the driver has said anything, it wants everything.
/// </summary>
internal sealed partial record NetFilter
{
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
}
