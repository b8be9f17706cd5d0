using Vmm.Events;

namespace Vmm.Devices;

/// <summary>What an export can do (NBD protocol, "Transmission flags").</summary>
[Flags]
internal enum NbdFlags : ushort
{
    None = 0,
    HasFlags = 1 << 0,
    ReadOnly = 1 << 1,
    SendFlush = 1 << 2,
    SendFua = 1 << 3,
    SendTrim = 1 << 5,
    SendWriteZeroes = 1 << 6,
    CanMultiConn = 1 << 8,
}

/// <summary>How an export's server frames its replies.</summary>
internal enum NbdReplies
{
    /// <summary>A header, then the data of a read.</summary>
    Simple,
    /// <summary>Chunks, each with a header and a length.</summary>
    Structured,
    /// <summary>Chunks with 64-bit lengths, and longer request headers.</summary>
    Extended,
}

/// <summary>What is asked of an export (NBD protocol, "Request types").</summary>
internal enum NbdCommand : ushort
{
    Read = 0,
    Write = 1,
    Disconnect = 2,
    Flush = 3,
    Trim = 4,
    WriteZeroes = 6,
}

/// <summary>The numbers of the NBD protocol.</summary>
internal static class NbdProtocol
{
    internal const ulong InitMagic = 0x4e42444d41474943;
    internal const ulong OptionMagic = 0x49484156454f5054;
    internal const ulong OptionReplyMagic = 0x3e889045565a9;
    internal const uint RequestMagic = 0x25609513;
    internal const uint ExtendedRequestMagic = 0x21e41c71;
    internal const uint SimpleReplyMagic = 0x67446698;
    internal const uint StructuredReplyMagic = 0x668e33ef;
    internal const uint ExtendedReplyMagic = 0x6e8a278c;

    /// <summary>Handshake flags, of the server and of the client.</summary>
    internal const ushort FixedNewstyle = 1, NoZeroes = 2;

    internal const uint OptionAbort = 2, OptionStartTls = 5, OptionGo = 7, OptionStructuredReply = 8, OptionExtendedHeaders = 11;

    internal const uint ReplyAck = 1, ReplyInfo = 3, ReplyErrorBit = 1u << 31;
    internal const uint ErrorUnsupported = ReplyErrorBit + 1, ErrorPolicy = ReplyErrorBit + 2, ErrorTlsRequired = ReplyErrorBit + 5,
        ErrorUnknown = ReplyErrorBit + 6, ErrorShutdown = ReplyErrorBit + 7;

    internal const ushort InfoExport = 0, InfoBlockSize = 3;

    internal const ushort CommandFua = 1 << 0, CommandNoHole = 1 << 1, CommandPayloadLength = 1 << 5;

    internal const ushort ChunkNone = 0, ChunkData = 1, ChunkHole = 2, ChunkErrorBit = 1 << 15;
    internal const ushort ChunkDone = 1;

    internal const int RequestLength = 28, ExtendedRequestLength = 32;
    internal const int SimpleReplyLength = 16, StructuredReplyLength = 20, ExtendedReplyLength = 32;

    /// <summary>Longest string (NBD protocol, "Values").</summary>
    internal const int StringMax = 4096;

    /// <summary>Longest payload of an export that says nothing about it (NBD protocol, "Block size constraints").</summary>
    internal const uint PayloadStandard = 32 << 20;

    private const uint Shutdown = 108;

    /// <summary>Whether the server is about to go, and the request is for the next one.</summary>
    internal static bool IsShutdown(uint error) => error == Shutdown;

    /// <summary>
    /// An error of the protocol as the kernel would say it (NBD protocol, "Error values"); what is none of its errors is EINVAL.
    /// </summary>
    internal static Errno ErrorOf(uint error) => error switch
    {
        1 => Errno.NotPermitted,
        5 => Errno.InputOutput,
        12 => Errno.NoMemory,
        28 => Errno.NoSpace,
        95 => Errno.NotSupported,
        _ => Errno.Invalid,
    };
}

/// <summary>What a server says of an export in the handshake.</summary>
/// <param name="Bytes">Its size.</param>
/// <param name="Flags">What it can do.</param>
/// <param name="Replies">How replies are framed.</param>
/// <param name="BlockMin">Offsets and lengths are multiples of this power of two.</param>
/// <param name="BlockPreferred">What is read or written at the least without reading before: a power of two.</param>
/// <param name="PayloadMax">Most bytes of one read or write.</param>
internal sealed record NbdExport(ulong Bytes, NbdFlags Flags, NbdReplies Replies, uint BlockMin, uint BlockPreferred, uint PayloadMax)
{
    internal bool Can(NbdFlags flag) => (Flags & flag) != 0;

    internal int RequestLength => Replies == NbdReplies.Extended ? NbdProtocol.ExtendedRequestLength : NbdProtocol.RequestLength;
}

/// <summary>
/// The server breaks the protocol: its connection is closed. The message is the rest of a sentence that starts with the server.
/// </summary>
internal sealed class NbdProtocolException(string message) : IOException(message);
