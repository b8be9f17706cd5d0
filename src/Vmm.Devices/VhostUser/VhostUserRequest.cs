namespace Vmm.Devices.VhostUser;

/// <summary>What a front-end can ask of a back-end (vhost-user protocol, "Front-end message types").</summary>
internal enum VhostUserRequest : uint
{
    None = 0,
    GetFeatures = 1,
    SetFeatures = 2,
    SetOwner = 3,
    ResetOwner = 4,
    SetMemoryTable = 5,
    SetLogBase = 6,
    SetLogFd = 7,
    SetVringNum = 8,
    SetVringAddress = 9,
    SetVringBase = 10,
    GetVringBase = 11,
    SetVringKick = 12,
    SetVringCall = 13,
    SetVringError = 14,
    GetProtocolFeatures = 15,
    SetProtocolFeatures = 16,
    GetQueueNum = 17,
    SetVringEnable = 18,
    SetNetMtu = 20,
    SetBackendRequestFd = 21,
    GetConfig = 24,
    SetConfig = 25,
    GetInflightFd = 31,
    SetInflightFd = 32,
    ResetDevice = 34,
    GetMemorySlotsMax = 36,
    AddMemoryRegion = 37,
    RemoveMemoryRegion = 38,
    SetStatus = 39,
    GetStatus = 40,
}

/// <summary>What a back-end can ask of a front-end, on the channel of <see cref="VhostUserRequest.SetBackendRequestFd"/>.</summary>
internal enum VhostUserBackendRequest : uint
{
    ConfigChanged = 2,
}

/// <summary>Protocol features (vhost-user protocol, "Protocol features"): those this implementation knows.</summary>
[Flags]
internal enum ProtocolFeatures : ulong
{
    None = 0,
    MultipleQueues = 1UL << 0,
    LogSharedMemory = 1UL << 1,
    ReplyAck = 1UL << 3,
    NetMtu = 1UL << 4,
    BackendRequests = 1UL << 5,
    Config = 1UL << 9,
    InflightSharedMemory = 1UL << 12,
    ResetDevice = 1UL << 13,
    ConfigureMemorySlots = 1UL << 15,
    Status = 1UL << 16,
}
