using System.Buffers.Binary;

namespace Vmm.Devices.VhostUser;

/// <summary>
/// The 12 bytes before every payload: request, flags, size (vhost-user protocol, "Header"). Native order, which is little-endian here.
/// </summary>
internal readonly record struct VhostUserHeader(uint Request, uint Flags, int PayloadBytes)
{
    internal const int Bytes = 12;

    private const uint VersionMask = 0x3;
    private const uint Version = 0x1;
    private const uint ReplyFlag = 0x4;
    private const uint NeedReplyFlag = 0x8;

    /// <summary>The sender waits for an acknowledgement.</summary>
    internal bool NeedsReply => (Flags & NeedReplyFlag) != 0;

    internal bool IsReply => (Flags & ReplyFlag) != 0;

    /// <summary>The version is the one there is, and no flag is set that has no meaning.</summary>
    internal bool IsSound =>
        (Flags & VersionMask) == Version && (Flags & ~(VersionMask | ReplyFlag | NeedReplyFlag)) == 0 && PayloadBytes >= 0;

    internal static VhostUserHeader ForRequest(uint request, int payloadBytes, bool needsReply) =>
        new(request, needsReply ? Version | NeedReplyFlag : Version, payloadBytes);

    internal static VhostUserHeader ForReply(uint request, int payloadBytes) => new(request, Version | ReplyFlag, payloadBytes);

    internal static VhostUserHeader Read(ReadOnlySpan<byte> bytes) => new(
        BinaryPrimitives.ReadUInt32LittleEndian(bytes),
        BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]),
        BinaryPrimitives.ReadInt32LittleEndian(bytes[8..]));

    internal void Write(Span<byte> bytes)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, Request);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[4..], Flags);
        BinaryPrimitives.WriteInt32LittleEndian(bytes[8..], PayloadBytes);
    }
}
