namespace Vmm.Devices.VhostUser;

/// <summary>What a request must look like: payload bytes, descriptors, and the protocol feature that makes it legal.</summary>
/// <param name="PayloadMin">Fewest bytes of payload.</param>
/// <param name="PayloadMax">Most bytes of payload.</param>
/// <param name="FdsMin">Fewest descriptors.</param>
/// <param name="FdsMax">Most descriptors.</param>
/// <param name="Needs">The feature that must have been acknowledged; none for the base protocol.</param>
/// <param name="HasReply">Whether the request has a reply of its own, so that no acknowledgement is sent beside it.</param>
internal readonly record struct MessageShape(
    int PayloadMin, int PayloadMax, int FdsMin, int FdsMax, ProtocolFeatures Needs = ProtocolFeatures.None, bool HasReply = false)
{
    /// <summary>Most payload of any request: a configuration space of 256 bytes behind its 12 bytes of header.</summary>
    internal const int PayloadLimit = ConfigHeaderBytes + ConfigBytesMax;

    /// <summary>Most bytes of configuration space one message carries: a bound of our own, and of QEMU.</summary>
    internal const int ConfigBytesMax = 256;

    internal const int ConfigHeaderBytes = 12;
    internal const int MemoryTableHeaderBytes = 8;
    internal const int RegionBytes = 32;

    /// <summary>Most regions of one memory table: as many as descriptors fit into one message.</summary>
    internal const int TableRegionsMax = 8;

    /// <summary>The region descriptor of a memory slot: 8 bytes of padding before it.</summary>
    internal const int SlotBytes = 8 + RegionBytes;

    private const int Word = sizeof(ulong);
    private const int VringAddressBytes = 40;
    private const int LogBytes = 16;

    /// <summary>The in-flight description without and with the padding a compiler puts behind it: front-ends send both.</summary>
    private const int InflightBytes = 20, InflightPaddedBytes = 24;

    /// <summary>The shape of a request.</summary>
    /// <returns>False for one that is unknown, or that this back-end does not offer.</returns>
    internal static bool TryGet(VhostUserRequest request, out MessageShape shape)
    {
        shape = request switch
        {
            VhostUserRequest.GetFeatures => Getter(ProtocolFeatures.None),
            VhostUserRequest.SetFeatures => Fixed(Word),
            VhostUserRequest.SetOwner or VhostUserRequest.ResetOwner => Fixed(0),
            VhostUserRequest.SetMemoryTable =>
                new(MemoryTableHeaderBytes, MemoryTableHeaderBytes + (TableRegionsMax * RegionBytes), 0, TableRegionsMax),
            VhostUserRequest.SetLogBase => new(LogBytes, LogBytes, 1, 1, ProtocolFeatures.LogSharedMemory, HasReply: true),
            VhostUserRequest.SetLogFd => new(0, 0, 1, 1),
            VhostUserRequest.SetVringNum or VhostUserRequest.SetVringBase or VhostUserRequest.SetVringEnable => Fixed(Word),
            VhostUserRequest.SetVringAddress => Fixed(VringAddressBytes),
            VhostUserRequest.GetVringBase => new(Word, Word, 0, 0, HasReply: true),
            VhostUserRequest.SetVringKick or VhostUserRequest.SetVringCall or VhostUserRequest.SetVringError => new(Word, Word, 0, 1),
            VhostUserRequest.GetProtocolFeatures => Getter(ProtocolFeatures.None),
            VhostUserRequest.SetProtocolFeatures => Fixed(Word),
            VhostUserRequest.GetQueueNum => Getter(ProtocolFeatures.MultipleQueues),
            VhostUserRequest.SetNetMtu => Fixed(Word, ProtocolFeatures.NetMtu),
            VhostUserRequest.SetBackendRequestFd => new(0, 0, 1, 1, ProtocolFeatures.BackendRequests),
            VhostUserRequest.GetConfig => new(ConfigHeaderBytes, PayloadLimit, 0, 0, ProtocolFeatures.Config, HasReply: true),
            VhostUserRequest.SetConfig => new(ConfigHeaderBytes, PayloadLimit, 0, 0, ProtocolFeatures.Config),
            VhostUserRequest.GetInflightFd =>
                new(InflightBytes, InflightPaddedBytes, 0, 0, ProtocolFeatures.InflightSharedMemory, HasReply: true),
            VhostUserRequest.SetInflightFd => new(InflightBytes, InflightPaddedBytes, 1, 1, ProtocolFeatures.InflightSharedMemory),
            VhostUserRequest.ResetDevice => Fixed(0, ProtocolFeatures.ResetDevice),
            VhostUserRequest.GetMemorySlotsMax => Getter(ProtocolFeatures.ConfigureMemorySlots),
            VhostUserRequest.AddMemoryRegion => new(SlotBytes, SlotBytes, 1, 1, ProtocolFeatures.ConfigureMemorySlots),
            // One descriptor is allowed for the sake of front-ends that send it; it is closed unused.
            VhostUserRequest.RemoveMemoryRegion => new(SlotBytes, SlotBytes, 0, 1, ProtocolFeatures.ConfigureMemorySlots),
            VhostUserRequest.SetStatus => Fixed(Word, ProtocolFeatures.Status),
            VhostUserRequest.GetStatus => Getter(ProtocolFeatures.Status),
            _ => new(-1, -1, 0, 0),
        };
        return shape.PayloadMin >= 0;
    }

    /// <summary>Whether a payload has a size this request can have; counts inside the payload are checked where it is read.</summary>
    internal bool AllowsPayload(VhostUserRequest request, int bytes) => request switch
    {
        VhostUserRequest.SetMemoryTable => InRange(bytes) && (bytes - MemoryTableHeaderBytes) % RegionBytes == 0,
        VhostUserRequest.GetInflightFd or VhostUserRequest.SetInflightFd => bytes is InflightBytes or InflightPaddedBytes,
        _ => InRange(bytes),
    };

    internal bool AllowsFds(int count) => count >= FdsMin && count <= FdsMax;

    private bool InRange(int bytes) => bytes >= PayloadMin && bytes <= PayloadMax;

    private static MessageShape Fixed(int bytes, ProtocolFeatures needs = ProtocolFeatures.None) => new(bytes, bytes, 0, 0, needs);

    private static MessageShape Getter(ProtocolFeatures needs) => new(0, 0, 0, 0, needs, HasReply: true);
}
