namespace Vmm.Devices;

/// <summary>What a control command is about (virtio 1.2 § 5.1.6.5).</summary>
internal enum NetControlClass : byte
{
    Receive = 0,
    Mac = 1,
    Vlan = 2,
    Announce = 3,
    MultiQueue = 4,
    GuestOffloads = 5,
}

/// <summary>Which frames a driver wants (§ 5.1.6.5.1). Each is followed by one byte: on or off.</summary>
internal enum NetReceiveMode : byte
{
    Promiscuous = 0,
    AllMulticast = 1,
    AllUnicast = 2,
    NoMulticast = 3,
    NoUnicast = 4,
    NoBroadcast = 5,
}

/// <summary>The numbers of the network device's protocol (virtio 1.2 § 5.1).</summary>
internal static class NetProtocol
{
    internal const ulong FeatureChecksum = 1UL << 0;
    internal const ulong FeatureGuestChecksum = 1UL << 1;
    internal const ulong FeatureControlGuestOffloads = 1UL << 2;
    internal const ulong FeatureMtu = 1UL << 3;
    internal const ulong FeatureMac = 1UL << 5;
    internal const ulong FeatureGuestTso4 = 1UL << 7;
    internal const ulong FeatureGuestTso6 = 1UL << 8;
    internal const ulong FeatureGuestEcn = 1UL << 9;
    internal const ulong FeatureGuestUfo = 1UL << 10;
    internal const ulong FeatureHostTso4 = 1UL << 11;
    internal const ulong FeatureHostTso6 = 1UL << 12;
    internal const ulong FeatureHostEcn = 1UL << 13;
    internal const ulong FeatureHostUfo = 1UL << 14;
    internal const ulong FeatureMergeReceive = 1UL << 15;
    internal const ulong FeatureStatus = 1UL << 16;
    internal const ulong FeatureControl = 1UL << 17;
    internal const ulong FeatureControlReceive = 1UL << 18;
    internal const ulong FeatureControlVlan = 1UL << 19;
    internal const ulong FeatureControlReceiveExtra = 1UL << 20;
    internal const ulong FeatureGuestAnnounce = 1UL << 21;
    internal const ulong FeatureMultiQueue = 1UL << 22;
    internal const ulong FeatureControlMac = 1UL << 23;
    internal const ulong FeatureGuestUso4 = 1UL << 54;
    internal const ulong FeatureGuestUso6 = 1UL << 55;
    internal const ulong FeatureHostUso = 1UL << 56;
    internal const ulong FeatureSpeedDuplex = 1UL << 63;

    /// <summary>What the driver can switch by a command (§ 5.1.6.5.6): the bits are those of the features.</summary>
    internal const ulong GuestOffloads = FeatureGuestChecksum | FeatureGuestTso4 | FeatureGuestTso6 | FeatureGuestEcn | FeatureGuestUfo
        | FeatureGuestUso4 | FeatureGuestUso6;

    // struct virtio_net_config.
    internal const int ConfigLength = 17;
    internal const int ConfigMac = 0;
    internal const int ConfigStatus = 6;
    internal const int ConfigPairsMax = 8;
    internal const int ConfigMtu = 10;
    internal const int ConfigSpeed = 12;
    internal const int ConfigDuplex = 16;

    internal const ushort StatusLinkUp = 1;
    internal const ushort StatusAnnounce = 2;
    internal const byte FullDuplex = 1;

    // struct virtio_net_hdr.
    internal const int HeaderLengthMax = 12;
    internal const int HeaderBuffersOffset = 10;

    internal const int MacTableSet = 0;
    internal const int MacAddressSet = 1;
    internal const int VlanAdd = 0;
    internal const int VlanRemove = 1;
    internal const int VlanCount = 4096;
    internal const byte ControlOk = 0;
    internal const byte ControlError = 1;

    /// <summary>Both addresses and the type: no frame is shorter.</summary>
    internal const int EthernetHeaderLength = 14;

    /// <summary>
    /// Longest frame: 64 KiB of payload that a segmentation offload left whole, Ethernet header, VLAN tag; and the header of § 5.1.6.
    /// </summary>
    internal const int FrameBytesMax = 65536 + EthernetHeaderLength + 4 + HeaderLengthMax;

    internal static int ReceiveQueueOf(int pair) => 2 * pair;

    /// <summary>
    /// Bytes before each frame (§ 5.1.6): the count of buffers is not there for drivers of old without mergeable buffers.
    /// </summary>
    internal static int HeaderLength(ulong features) =>
        (features & (VirtioFeatures.Version1 | FeatureMergeReceive)) != 0 ? HeaderLengthMax : HeaderBuffersOffset;
}
