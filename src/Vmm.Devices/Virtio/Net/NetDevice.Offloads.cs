using Vmm.Events;

namespace Vmm.Devices;

// What driver and network do for each other, as feature bits and as what a network understands.
public sealed partial class NetDevice
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

    private static ulong OffloadFeatures(NetOffloads offloads)
    {
        ulong features = 0;
        foreach ((NetOffloads offload, ulong toGuest, ulong fromGuest) in OffloadBits)
        {
            if (offloads.HasFlag(offload)) features |= toGuest | fromGuest;
        }
        return features;
    }

    /// <summary>Sets what the network may leave undone in frames for the guest.</summary>
    /// <param name="toGuest">As feature bits.</param>
    private bool SetOffloads(ulong toGuest)
    {
        NetOffloads offloads = NetOffloads.None;
        foreach ((NetOffloads offload, ulong bit, _) in OffloadBits)
        {
            if ((toGuest & bit) != 0) offloads |= offload;
        }
        Errno errno = Backend.Configure(NetProtocol.HeaderLength(Driver!.Features), offloads);
        if (errno == Errno.None) _guestOffloads = toGuest;
        else ReportHostFault(errno, "cannot set up the network for its driver", Backend.Description);
        return errno == Errno.None;
    }
}
