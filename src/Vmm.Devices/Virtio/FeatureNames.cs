namespace Vmm.Devices;

/// <summary>The feature bits by their names in virtio 1.2, for readers: logs and listings.</summary>
internal static class FeatureNames
{
    private static readonly Dictionary<int, string> Common = new()
    {
        [28] = "INDIRECT_DESC",
        [29] = "EVENT_IDX",
        [32] = "VERSION_1",
        [33] = "ACCESS_PLATFORM",
        [34] = "RING_PACKED",
        [35] = "IN_ORDER",
        [36] = "ORDER_PLATFORM",
        [37] = "SR_IOV",
        [38] = "NOTIFICATION_DATA",
        [39] = "NOTIF_CONFIG_DATA",
        [40] = "RING_RESET",
    };

    private static readonly Dictionary<VirtioDeviceType, Dictionary<int, string>> OfType = new()
    {
        [VirtioDeviceType.Network] = new()
        {
            [0] = "CSUM",
            [1] = "GUEST_CSUM",
            [2] = "CTRL_GUEST_OFFLOADS",
            [3] = "MTU",
            [5] = "MAC",
            [7] = "GUEST_TSO4",
            [8] = "GUEST_TSO6",
            [9] = "GUEST_ECN",
            [10] = "GUEST_UFO",
            [11] = "HOST_TSO4",
            [12] = "HOST_TSO6",
            [13] = "HOST_ECN",
            [14] = "HOST_UFO",
            [15] = "MRG_RXBUF",
            [16] = "STATUS",
            [17] = "CTRL_VQ",
            [18] = "CTRL_RX",
            [19] = "CTRL_VLAN",
            [20] = "CTRL_RX_EXTRA",
            [21] = "GUEST_ANNOUNCE",
            [22] = "MQ",
            [23] = "CTRL_MAC_ADDR",
            [54] = "GUEST_USO4",
            [55] = "GUEST_USO6",
            [56] = "HOST_USO",
            [57] = "HASH_REPORT",
            [59] = "GUEST_HDRLEN",
            [60] = "RSS",
            [61] = "RSC_EXT",
            [62] = "STANDBY",
            [63] = "SPEED_DUPLEX",
        },
        [VirtioDeviceType.Block] = new()
        {
            [1] = "SIZE_MAX",
            [2] = "SEG_MAX",
            [4] = "GEOMETRY",
            [5] = "RO",
            [6] = "BLK_SIZE",
            [9] = "FLUSH",
            [10] = "TOPOLOGY",
            [11] = "CONFIG_WCE",
            [12] = "MQ",
            [13] = "DISCARD",
            [14] = "WRITE_ZEROES",
            [15] = "LIFETIME",
            [16] = "SECURE_ERASE",
        },
        [VirtioDeviceType.Console] = new() { [0] = "SIZE", [1] = "MULTIPORT", [2] = "EMERG_WRITE" },
        [VirtioDeviceType.Entropy] = [],
        [VirtioDeviceType.Balloon] = new()
        {
            [0] = "MUST_TELL_HOST",
            [1] = "STATS_VQ",
            [2] = "DEFLATE_ON_OOM",
            [3] = "FREE_PAGE_HINT",
            [4] = "PAGE_POISON",
            [5] = "REPORTING",
        },
        [VirtioDeviceType.Socket] = new() { [0] = "STREAM", [1] = "SEQPACKET" },
    };

    /// <summary>Every bit that has a name; of no type if all devices have it.</summary>
    internal static IEnumerable<(VirtioDeviceType? Type, int Bit, string Name)> All =>
    [
        .. Common.Select(name => ((VirtioDeviceType?)null, name.Key, name.Value)),
        .. OfType.SelectMany(type => type.Value.Select(name => ((VirtioDeviceType?)type.Key, name.Key, name.Value))),
    ];

    /// <summary>The names of a set of features, lowest bit first; a bit without a name is <c>bit N</c>.</summary>
    /// <param name="type">The type of the device that has them.</param>
    /// <param name="features">The set, as a mask.</param>
    internal static IEnumerable<string> Of(VirtioDeviceType type, ulong features)
    {
        for (int bit = 0; bit < 64; bit++)
        {
            if ((features >> bit & 1) == 0) continue;
            yield return OfType.GetValueOrDefault(type)?.GetValueOrDefault(bit) ?? Common.GetValueOrDefault(bit) ?? $"bit {bit}";
        }
    }
}
