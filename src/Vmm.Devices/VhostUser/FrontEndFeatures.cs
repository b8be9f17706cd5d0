namespace Vmm.Devices.VhostUser;

/// <summary>What a device and the protocol offer to a front-end, and what it took.</summary>
internal sealed class FrontEndFeatures(VhostUserBackend backend, VhostUserExchange exchange)
{
    /// <summary>Writes of the device are logged (VHOST_F_LOG_ALL).</summary>
    private const ulong LogAll = 1UL << 26;

    /// <summary>The protocol has features of its own (VHOST_USER_F_PROTOCOL_FEATURES).</summary>
    private const ulong HasProtocolFeatures = 1UL << 30;

    private const ProtocolFeatures OfferedAlways =
        ProtocolFeatures.MultipleQueues | ProtocolFeatures.LogSharedMemory | ProtocolFeatures.ReplyAck
        | ProtocolFeatures.BackendRequests | ProtocolFeatures.Config | ProtocolFeatures.InflightSharedMemory | ProtocolFeatures.ResetDevice
        | ProtocolFeatures.ConfigureMemorySlots | ProtocolFeatures.Status;

    private readonly VirtioDevice _device = backend.Device;
    private ulong? _accepted;

    internal ulong Offered =>
        _device.Features | VirtioFeatures.Version1 | VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex
        | VirtioFeatures.PackedRing
        | LogAll | HasProtocolFeatures;

    internal ProtocolFeatures OfferedProtocol =>
        OfferedAlways | (_device.Type == VirtioDeviceType.Network ? ProtocolFeatures.NetMtu : ProtocolFeatures.None);

    /// <summary>What device and rings see: the bits of the protocol itself are not theirs.</summary>
    internal ulong OfDriver => _accepted.GetValueOrDefault() & ~(LogAll | HasProtocolFeatures);

    internal bool AreSettled => _accepted is not null;

    internal bool LogsWrites => (_accepted & LogAll) != 0;

    /// <summary>Whether a ring waits for its front-end to enable it.</summary>
    internal bool EnableRings => (_accepted & HasProtocolFeatures) != 0;

    internal bool IsPacked => (OfDriver & VirtioFeatures.PackedRing) != 0;

    /// <returns>Why they are refused; null if they are in force.</returns>
    internal string? Accept(ulong acknowledged, bool anyRuns)
    {
        // Some front-ends acknowledge bits that were never offered: those have no effect.
        ulong features = acknowledged & Offered;
        if (features != acknowledged)
            backend.DebugOnce($"the front-end acknowledged features that were not offered: 0x{acknowledged & ~Offered:x}");
        if (anyRuns)
        {
            // While rings run only the log can be switched, as live migration does.
            if (((features ^ _accepted) & ~LogAll) != 0) return "features changed while rings run";
        }
        else
        {
            if ((features & VirtioFeatures.Version1) == 0) return "a driver from before virtio 1.0";
            if (!_device.AcceptsFeatures(features & ~(LogAll | HasProtocolFeatures))) return "a set of features the device can't work with";
            _device.OnFeaturesAccepted(features & ~(LogAll | HasProtocolFeatures));
        }
        _accepted = features;
        return null;
    }

    /// <inheritdoc cref="Accept"/>
    internal string? AcceptProtocol(ProtocolFeatures acknowledged)
    {
        if ((acknowledged & ~OfferedProtocol) != 0) return "a protocol feature that was not offered";
        exchange.Protocol = acknowledged;
        return null;
    }
}
