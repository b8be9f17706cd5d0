using System.Buffers.Binary;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>The messages of a session: one request at a time, and the reply to it.</summary>
internal sealed class VhostUserExchange : IDisposable
{
    private readonly MessageReader _reader = new();
    private readonly MessageWriter _writer = new();

    /// <summary>Nothing more is read or answered.</summary>
    internal bool HasEnded { get; set; }

    /// <summary>What the front-end negotiated of the protocol.</summary>
    internal ProtocolFeatures Protocol { get; set; }

    internal VhostUserRequest Request => (VhostUserRequest)_reader.Header.Request;

    internal ReadOnlySpan<byte> Payload => _reader.Payload;

    /// <summary>The descriptors that came with the request.</summary>
    internal ReceivedFds Fds => _reader.Fds;

    /// <inheritdoc cref="MessageReader.Complaint"/>
    internal string Complaint => _reader.Complaint;

    /// <summary>Sends what is to be sent, and reads the next request once that is out: at most one of each takes memory.</summary>
    internal ReadProgress Advance(UnixSocket socket)
    {
        if (HasEnded || !_writer.Flush(socket)) return ReadProgress.Closed;
        return _writer.IsPending ? ReadProgress.Incomplete : _reader.Read(socket);
    }

    /// <summary>What can be said of the request without looking into it.</summary>
    /// <returns>Why it is refused; null if it is to be carried out.</returns>
    internal string? Check()
    {
        if (!MessageShape.TryGet(Request, out MessageShape shape) || _reader.Header.IsReply) return "an unknown request";
        if ((shape.Needs & ~Protocol) != 0) return "a request whose protocol feature was not negotiated";
        if (!shape.AllowsPayload(Request, _reader.Header.PayloadBytes)) return "a payload of a wrong size";
        return shape.AllowsFds(Fds.Count) ? null : "too many or too few descriptors";
    }

    /// <summary>Acknowledges the request if its front-end wants that.</summary>
    /// <returns>
    /// False for a refusal that the front-end does not wait for: it has to end the connection, or it would go unnoticed.
    /// </returns>
    internal bool Acknowledge(string? refusal)
    {
        bool hasReply = MessageShape.TryGet(Request, out MessageShape shape) && shape.HasReply;
        bool acknowledges = _reader.Header.NeedsReply && !hasReply && Protocol.HasFlag(ProtocolFeatures.ReplyAck);
        if (acknowledges) Reply(refusal is null ? 0UL : 1UL);
        return acknowledges || refusal is null;
    }

    internal string? Reply(ulong word)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(BeginReply(sizeof(ulong)), word);
        return null;
    }

    internal Span<byte> BeginReply(int payloadBytes, OwnedFd? fd = null) =>
        _writer.Begin(VhostUserHeader.ForReply(_reader.Header.Request, payloadBytes), fd);

    internal ulong Word(int offset = 0) => BinaryPrimitives.ReadUInt64LittleEndian(Payload[offset..]);

    internal uint Half(int offset) => BinaryPrimitives.ReadUInt32LittleEndian(Payload[offset..]);

    /// <summary>Drops the reply that is not out.</summary>
    public void Dispose() => _writer.Dispose();
}
