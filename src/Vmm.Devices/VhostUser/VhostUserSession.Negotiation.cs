using System.Buffers.Binary;
using Vmm.Devices.Native;
using Vmm.Events.Tasks;

namespace Vmm.Devices.VhostUser;

/// <content>Features, configuration space, status: what does not touch memory or rings.</content>
internal sealed partial class VhostUserSession
{
    /// <summary>Writes of the device are logged (VHOST_F_LOG_ALL).</summary>
    private const ulong LogAll = 1UL << 26;

    /// <summary>The protocol has features of its own (VHOST_USER_F_PROTOCOL_FEATURES).</summary>
    private const ulong HasProtocolFeatures = 1UL << 30;

    private const ProtocolFeatures OfferedAlways =
        ProtocolFeatures.MultipleQueues | ProtocolFeatures.LogSharedMemory | ProtocolFeatures.ReplyAck
        | ProtocolFeatures.BackendRequests | ProtocolFeatures.Config | ProtocolFeatures.InflightSharedMemory | ProtocolFeatures.ResetDevice
        | ProtocolFeatures.ConfigureMemorySlots | ProtocolFeatures.Status;

    /// <summary>
    /// Where a network device's configuration has its MTU (virtio 1.2 § 5.1.4), and what can be one (§ 5.1.4.1, RFC 791).
    /// </summary>
    private const int MtuOffset = 10, MtuMin = 68;

    private const uint ForMigration = 1;

    private ProtocolFeatures _protocolFeatures;
    private ulong? _features;
    private DeviceStatus _status;
    private BackendChannel? _backendChannel;

    private ulong OfferedFeatures =>
        _device.Features | VirtioFeatures.Version1 | VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex
        | VirtioFeatures.PackedRing
        | LogAll | HasProtocolFeatures;

    private ProtocolFeatures OfferedProtocolFeatures =>
        OfferedAlways | (_device.Type == VirtioDeviceType.Network ? ProtocolFeatures.NetMtu : ProtocolFeatures.None);

    /// <summary>What device and rings see: the bits of the protocol itself are not theirs.</summary>
    private ulong DriverFeatures => _features.GetValueOrDefault() & ~(LogAll | HasProtocolFeatures);

    private string? SetFeatures(ulong acknowledged)
    {
        // Some front-ends acknowledge bits that were never offered: those have no effect.
        ulong features = acknowledged & OfferedFeatures;
        if (features != acknowledged)
            _backend.DebugOnce($"the front-end acknowledged features that were not offered: 0x{acknowledged & ~OfferedFeatures:x}");
        if (AnyRunning)
        {
            // While rings run only the log can be switched, as live migration does.
            if (((features ^ _features) & ~LogAll) != 0) return "features changed while rings run";
        }
        else
        {
            if ((features & VirtioFeatures.Version1) == 0) return "a driver from before virtio 1.0";
            if (!_device.AcceptsFeatures(features & ~(LogAll | HasProtocolFeatures))) return "a set of features the device can't work with";
            _device.OnFeaturesAccepted(features & ~(LogAll | HasProtocolFeatures));
        }
        _features = features;
        SwitchLog();
        return null;
    }

    private string? SetProtocolFeatures(ProtocolFeatures acknowledged)
    {
        if ((acknowledged & ~OfferedProtocolFeatures) != 0) return "a protocol feature that was not offered";
        _protocolFeatures = acknowledged;
        return null;
    }

    private string? SetBackendChannel()
    {
        if (!UnixSocket.IsUnixStream(_reader.Fds.Peek(0))) return "a back-end channel that is no Unix stream socket";
        _backendChannel?.Dispose();
        _backendChannel = new BackendChannel(new UnixSocket(_reader.Fds.Take(0)), _reactor, this);
        return null;
    }

    private string? GetConfig(ReadOnlySpan<byte> payload)
    {
        if (ReadConfigHeader(payload, out uint offset, out _, out int length) is { } refusal) return refusal;
        ConfigRead((int)offset, length);
        Span<byte> reply = BeginReply(MessageShape.ConfigHeaderBytes + length);
        payload[..MessageShape.ConfigHeaderBytes].CopyTo(reply);
        _device.Config.Read((int)offset, reply[MessageShape.ConfigHeaderBytes..]);
        return null;
    }

    private string? SetConfig(ReadOnlySpan<byte> payload)
    {
        if (ReadConfigHeader(payload, out uint offset, out uint flags, out int length) is { } refusal) return refusal;
        ReadOnlySpan<byte> data = payload.Slice(MessageShape.ConfigHeaderBytes, length);
        if (offset + (uint)length > (uint)_device.Config.Length) return "a write beyond the configuration space";
        if (flags == ForMigration) _device.Config.Restore((int)offset, data);
        else if (!_device.Config.Write((int)offset, data)) return "a write to configuration the driver may only read";
        ModeWritten((int)offset, length);
        _device.ConfigWritten((int)offset, length);
        return null;
    }

    private static string? ReadConfigHeader(ReadOnlySpan<byte> payload, out uint offset, out uint flags, out int length)
    {
        offset = ReadHalf(payload, 0);
        flags = ReadHalf(payload, 8);
        length = payload.Length - MessageShape.ConfigHeaderBytes;
        return ReadHalf(payload, 4) != (uint)length || offset > MessageShape.ConfigBytesMax || flags > ForMigration
            ? "a range of configuration that is not what the message carries"
            : null;
    }

    private string? SetNetMtu(ulong mtu)
    {
        if (mtu is < MtuMin or > ushort.MaxValue || _device.Config.Length < MtuOffset + sizeof(ushort)) return "an MTU that can't be";
        Span<byte> bytes = stackalloc byte[sizeof(ushort)];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, (ushort)mtu);
        _device.Config.Update(MtuOffset, bytes);
        return null;
    }

    private async ReactorTask<string?> SetStatus(ulong status)
    {
        if (status > byte.MaxValue) return "a status of more than 8 bits";
        if (status == 0) return await ResetDevice();
        _status = (DeviceStatus)status | (_status & DeviceStatus.NeedsReset);
        return null;
    }

    private void OnConfigChanged()
    {
        if (_hasEnded || !_protocolFeatures.HasFlag(ProtocolFeatures.Config) || _backendChannel is null) return;
        _changeWasAnnounced = true;
        _backendChannel.SayConfigChanged();
    }

    private void OnNeedsReset()
    {
        if (_hasEnded) return;
        _status |= DeviceStatus.NeedsReset;
        foreach (Vring ring in _rings) ring.Error?.Signal();
        OnConfigChanged();
    }
}
