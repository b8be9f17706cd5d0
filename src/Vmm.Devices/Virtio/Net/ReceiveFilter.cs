namespace Vmm.Devices;

/// <summary>
/// Which frames of the network a card's driver wants (virtio 1.2 § 5.1.6.5.1 to .3). Not in force while it is promiscuous.
/// </summary>
/// <param name="Promiscuous">All frames.</param>
/// <param name="Address">The card's own address, whose frames are wanted.</param>
/// <param name="Unicast">Further addresses of one station each; null for any.</param>
/// <param name="Multicast">Groups; null for any.</param>
/// <param name="Vlans">VLANs whose frames are wanted; null for all.</param>
/// <param name="Refuses">Kinds of frames that are not wanted at all: <c>unicast</c>, <c>multicast</c>, <c>broadcast</c>.</param>
public sealed record ReceiveFilter(bool Promiscuous, MacAddress Address, IReadOnlyList<MacAddress>? Unicast,
    IReadOnlyList<MacAddress>? Multicast, IReadOnlyList<int>? Vlans, IReadOnlyList<string> Refuses)
{
    internal static ReceiveFilter Of(NetFilter filter) => new(filter.IsPromiscuous, filter.Address,
        filter.AllUnicast ? null : filter.Unicast, filter.AllMulticast ? null : filter.Multicast,
        filter.Vlans is { } vlans
            ? [.. Enumerable.Range(0, NetProtocol.VlanCount).Where(vlan => (vlans[vlan / 64] >> (vlan % 64) & 1) != 0)] : null,
        [.. Refusals(filter)]);

    private static IEnumerable<string> Refusals(NetFilter filter)
    {
        if (filter.NoUnicast) yield return "unicast";
        if (filter.NoMulticast) yield return "multicast";
        if (filter.NoBroadcast) yield return "broadcast";
    }
}
