using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vmm.Devices.Native;
using Vmm.Tests.Native;

namespace Vmm.Devices.Tests;

/// <summary>Holds the numbers of the network device and of TAP interfaces against what the C compiler says of the kernel's headers.</summary>
[Collection(Alone.Name)]
public sealed class NetAbiTests
{
    private static readonly string[] Headers = ["linux/virtio_net.h", "linux/if_tun.h", "sys/ioctl.h", "net/if.h"];

    // Not in the headers of every kernel that is built on: USO.
    private static readonly (string C, long Ours)[] Numbers =
    [
        .. Bits("CSUM", NetProtocol.FeatureChecksum), .. Bits("GUEST_CSUM", NetProtocol.FeatureGuestChecksum),
        .. Bits("CTRL_GUEST_OFFLOADS", NetProtocol.FeatureControlGuestOffloads), .. Bits("MTU", NetProtocol.FeatureMtu), .. Bits("MAC", NetProtocol.FeatureMac),
        .. Bits("GUEST_TSO4", NetProtocol.FeatureGuestTso4), .. Bits("GUEST_TSO6", NetProtocol.FeatureGuestTso6), .. Bits("GUEST_ECN", NetProtocol.FeatureGuestEcn),
        .. Bits("GUEST_UFO", NetProtocol.FeatureGuestUfo), .. Bits("HOST_TSO4", NetProtocol.FeatureHostTso4), .. Bits("HOST_TSO6", NetProtocol.FeatureHostTso6),
        .. Bits("HOST_ECN", NetProtocol.FeatureHostEcn), .. Bits("HOST_UFO", NetProtocol.FeatureHostUfo), .. Bits("MRG_RXBUF", NetProtocol.FeatureMergeReceive),
        .. Bits("STATUS", NetProtocol.FeatureStatus), .. Bits("CTRL_VQ", NetProtocol.FeatureControl), .. Bits("CTRL_RX", NetProtocol.FeatureControlReceive),
        .. Bits("CTRL_VLAN", NetProtocol.FeatureControlVlan), .. Bits("CTRL_RX_EXTRA", NetProtocol.FeatureControlReceiveExtra),
        .. Bits("GUEST_ANNOUNCE", NetProtocol.FeatureGuestAnnounce), .. Bits("MQ", NetProtocol.FeatureMultiQueue),
        .. Bits("CTRL_MAC_ADDR", NetProtocol.FeatureControlMac), .. Bits("SPEED_DUPLEX", NetProtocol.FeatureSpeedDuplex),
        ("VIRTIO_NET_S_LINK_UP", NetProtocol.StatusLinkUp), ("VIRTIO_NET_S_ANNOUNCE", NetProtocol.StatusAnnounce),
        ("offsetof(struct virtio_net_config, mac)", NetProtocol.ConfigMac), ("offsetof(struct virtio_net_config, status)", NetProtocol.ConfigStatus),
        ("offsetof(struct virtio_net_config, max_virtqueue_pairs)", NetProtocol.ConfigPairsMax), ("offsetof(struct virtio_net_config, mtu)", NetProtocol.ConfigMtu),
        ("offsetof(struct virtio_net_config, speed)", NetProtocol.ConfigSpeed), ("offsetof(struct virtio_net_config, duplex)", NetProtocol.ConfigDuplex),
        ("sizeof(struct virtio_net_hdr_v1)", NetProtocol.HeaderLengthMax), ("offsetof(struct virtio_net_hdr_v1, num_buffers)", NetProtocol.HeaderBuffersOffset),
        ("VIRTIO_NET_CTRL_RX", (long)NetControlClass.Receive), ("VIRTIO_NET_CTRL_MAC", (long)NetControlClass.Mac), ("VIRTIO_NET_CTRL_VLAN", (long)NetControlClass.Vlan),
        ("VIRTIO_NET_CTRL_ANNOUNCE", (long)NetControlClass.Announce), ("VIRTIO_NET_CTRL_MQ", (long)NetControlClass.MultiQueue),
        ("VIRTIO_NET_CTRL_GUEST_OFFLOADS", (long)NetControlClass.GuestOffloads),
        ("VIRTIO_NET_CTRL_RX_PROMISC", (long)NetReceiveMode.Promiscuous), ("VIRTIO_NET_CTRL_RX_ALLMULTI", (long)NetReceiveMode.AllMulticast),
        ("VIRTIO_NET_CTRL_RX_ALLUNI", (long)NetReceiveMode.AllUnicast), ("VIRTIO_NET_CTRL_RX_NOMULTI", (long)NetReceiveMode.NoMulticast),
        ("VIRTIO_NET_CTRL_RX_NOUNI", (long)NetReceiveMode.NoUnicast), ("VIRTIO_NET_CTRL_RX_NOBCAST", (long)NetReceiveMode.NoBroadcast),
        ("VIRTIO_NET_CTRL_MAC_TABLE_SET", NetProtocol.MacTableSet), ("VIRTIO_NET_CTRL_MAC_ADDR_SET", NetProtocol.MacAddressSet),
        ("VIRTIO_NET_CTRL_VLAN_ADD", NetProtocol.VlanAdd), ("VIRTIO_NET_CTRL_VLAN_DEL", NetProtocol.VlanRemove),
        ("VIRTIO_NET_OK", NetProtocol.ControlOk), ("VIRTIO_NET_ERR", NetProtocol.ControlError),
        ("IFF_TAP", TunCalls.IFF_TAP), ("IFF_NO_PI", TunCalls.IFF_NO_PI), ("IFF_VNET_HDR", TunCalls.IFF_VNET_HDR), ("IFF_MULTI_QUEUE", TunCalls.IFF_MULTI_QUEUE),
        ("IFF_ATTACH_QUEUE", TunCalls.IFF_ATTACH_QUEUE), ("IFF_DETACH_QUEUE", TunCalls.IFF_DETACH_QUEUE),
        ("TUN_F_CSUM", TunCalls.TUN_F_CSUM), ("TUN_F_TSO4", TunCalls.TUN_F_TSO4), ("TUN_F_TSO6", TunCalls.TUN_F_TSO6),
        ("TUN_F_TSO_ECN", TunCalls.TUN_F_TSO_ECN), ("TUN_F_UFO", TunCalls.TUN_F_UFO),
        ("TUNSETIFF", (long)TunCalls.SetInterface), ("TUNSETOFFLOAD", (long)TunCalls.SetOffload), ("TUNSETVNETHDRSZ", (long)TunCalls.SetHeaderLength),
        ("TUNSETQUEUE", (long)TunCalls.SetQueue), ("TUNSETCARRIER", (long)TunCalls.SetCarrier), ("IFNAMSIZ - 1", TunCalls.NameLengthMax),
        ("sizeof(struct ifreq)", Unsafe.SizeOf<TunCalls.InterfaceRequest>()),
        ("offsetof(struct ifreq, ifr_flags)", Marshal.OffsetOf<TunCalls.InterfaceRequest>(nameof(TunCalls.InterfaceRequest.Flags))),
    ];

    [Fact]
    public void Numbers_are_those_of_the_headers()
    {
        IReadOnlyDictionary<string, long> theirs = KernelHeaders.Evaluate(Headers, [.. Numbers.Select(value => value.C).Distinct()]);
        Assert.All(Numbers, value => Assert.True(theirs[value.C] == value.Ours, $"{value.C} is {theirs[value.C]} in C, {value.Ours} here"));
    }

    private static (string, long)[] Bits(string name, ulong mask) => [($"1L << VIRTIO_NET_F_{name}", (long)mask)];
}
