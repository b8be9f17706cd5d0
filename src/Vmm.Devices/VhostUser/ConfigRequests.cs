using System.Buffers.Binary;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>The configuration space of a device, as its front-end reads and writes it and learns of its changes.</summary>
internal sealed class ConfigRequests(VirtioDevice device, VhostUserExchange exchange, DriverMode mode, IReactor reactor, Subscriber session)
{
    /// <summary>
    /// Where a network device's configuration has its MTU (virtio 1.2 § 5.1.4), and what can be one (§ 5.1.4.1, RFC 791).
    /// </summary>
    private const int MtuOffset = 10, MtuMin = 68;

    private const uint ForMigration = 1;

    private BackendChannel? _channel;

    internal string? SetBackendChannel()
    {
        if (!UnixSocket.IsUnixStream(exchange.Fds.Peek(0))) return "a back-end channel that is no Unix stream socket";
        _channel?.Dispose();
        _channel = new BackendChannel(new UnixSocket(exchange.Fds.Take(0)), reactor, session);
        return null;
    }

    internal string? Get()
    {
        ReadOnlySpan<byte> payload = exchange.Payload;
        if (ReadHeader(out uint offset, out _, out int length) is { } refusal) return refusal;
        mode.WasRead((int)offset, length);
        Span<byte> reply = exchange.BeginReply(MessageShape.ConfigHeaderBytes + length);
        payload[..MessageShape.ConfigHeaderBytes].CopyTo(reply);
        device.Config.Read((int)offset, reply[MessageShape.ConfigHeaderBytes..]);
        return null;
    }

    internal string? Set()
    {
        ReadOnlySpan<byte> payload = exchange.Payload;
        if (ReadHeader(out uint offset, out uint flags, out int length) is { } refusal) return refusal;
        ReadOnlySpan<byte> data = payload.Slice(MessageShape.ConfigHeaderBytes, length);
        if (offset + (uint)length > (uint)device.Config.Length) return "a write beyond the configuration space";
        if (flags == ForMigration) device.Config.Restore((int)offset, data);
        else if (!device.Config.Write((int)offset, data)) return "a write to configuration the driver may only read";
        mode.WasWritten((int)offset, length);
        device.ConfigWritten((int)offset, length);
        return null;
    }

    private string? ReadHeader(out uint offset, out uint flags, out int length)
    {
        offset = exchange.Half(0);
        flags = exchange.Half(8);
        length = exchange.Payload.Length - MessageShape.ConfigHeaderBytes;
        return exchange.Half(4) != (uint)length || offset > MessageShape.ConfigBytesMax || flags > ForMigration
            ? "a range of configuration that is not what the message carries"
            : null;
    }

    internal string? SetMtu()
    {
        ulong mtu = exchange.Word();
        if (mtu is < MtuMin or > ushort.MaxValue || device.Config.Length < MtuOffset + sizeof(ushort)) return "an MTU that can't be";
        Span<byte> bytes = stackalloc byte[sizeof(ushort)];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, (ushort)mtu);
        device.Config.Update(MtuOffset, bytes);
        return null;
    }

    /// <summary>Reports a change of the space to the front-end, if it has a channel for that.</summary>
    internal void Announce()
    {
        if (exchange.HasEnded || !exchange.Protocol.HasFlag(ProtocolFeatures.Config) || _channel is null) return;
        mode.ChangeWasAnnounced();
        _channel.SayConfigChanged();
    }
}
