namespace Vmm.Devices;

/// <summary>What driver and network do for each other, as feature bits and as what a network understands.</summary>
internal static class NetOffloadBits
{
    private static readonly (NetOffloads Offload, ulong ToGuest, ulong FromGuest)[] OffloadBits =
    [
        (NetOffloads.Checksum, NetProtocol.FeatureGuestChecksum, NetProtocol.FeatureChecksum),
        (NetOffloads.Tso4, NetProtocol.FeatureGuestTso4, NetProtocol.FeatureHostTso4),
        (NetOffloads.Tso6, NetProtocol.FeatureGuestTso6, NetProtocol.FeatureHostTso6),
        (NetOffloads.Ecn, NetProtocol.FeatureGuestEcn, NetProtocol.FeatureHostEcn),
        (NetOffloads.Ufo, NetProtocol.FeatureGuestUfo, NetProtocol.FeatureHostUfo),
        (NetOffloads.Uso4, NetProtocol.FeatureGuestUso4, NetProtocol.FeatureHostUso),
        (NetOffloads.Uso6, NetProtocol.FeatureGuestUso6, NetProtocol.FeatureHostUso),
    ];

    /// <summary>The features that a network lets a card offer, in both directions.</summary>
    internal static ulong FeaturesOf(NetOffloads offloads)
    {
        ulong features = 0;
        foreach ((NetOffloads offload, ulong toGuest, ulong fromGuest) in OffloadBits)
        {
            if (offloads.HasFlag(offload)) features |= toGuest | fromGuest;
        }
        return features;
    }

    /// <summary>What the network may leave undone in frames for the guest.</summary>
    /// <param name="features">As feature bits.</param>
    internal static NetOffloads ToGuest(ulong features)
    {
        NetOffloads offloads = NetOffloads.None;
        foreach ((NetOffloads offload, ulong bit, _) in OffloadBits)
        {
            if ((features & bit) != 0) offloads |= offload;
        }
        return offloads;
    }
}
