using System.Buffers.Binary;
using System.Text;

namespace Vmm.Devices.Native;

/// <summary>What a process in a sandbox asks of its broker.</summary>
internal enum BrokerCall : byte
{
    /// <summary>Open a file.</summary>
    Open = 1,
    /// <summary>Attach to a TAP interface, whose name stands for the path.</summary>
    Tap,
    /// <summary>Connect to a Unix socket.</summary>
    Connect,
    /// <summary>Listen at a path.</summary>
    Listen,
    /// <summary>Remove such a path.</summary>
    Remove,
    /// <summary>Begin a directory that a machine is saved to.</summary>
    Save,
    /// <summary>Give it its name.</summary>
    Commit,
    /// <summary>Remove it.</summary>
    Abandon,
}

/// <summary>
/// A request to a broker, one message of a socket of packets: the call, a byte of options, the path's length in 16 bits, two numbers of
/// 32 bits, the path in UTF-8. The answer is an error number of 32 bits, with a descriptor if it is 0. All little-endian.
/// </summary>
/// <param name="Call">What is asked.</param>
/// <param name="Option">
/// Connect: 1 for a socket of messages. Listen: 1 if the second number is a group. Tap: 1 to make no interface.
/// </param>
/// <param name="First">Open: flags; Tap: IFF_ bits; Listen: the path's mode.</param>
/// <param name="Second">Open: the mode of a file that is made; Listen: the path's group.</param>
/// <param name="Path">A full path, or the name of an interface.</param>
internal readonly record struct BrokerRequest(BrokerCall Call, byte Option, uint First, uint Second, string Path)
{
    internal const int HeaderBytes = 12, PathBytesMax = 4095, BytesMax = HeaderBytes + PathBytesMax, AnswerBytes = 4;

    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Writes it; null if its path is too long.</summary>
    internal byte[]? ToBytes()
    {
        byte[] path = Encoding.UTF8.GetBytes(Path);
        if (path.Length > PathBytesMax) return null;
        byte[] message = new byte[HeaderBytes + path.Length];
        (message[0], message[1]) = ((byte)Call, Option);
        BinaryPrimitives.WriteUInt16LittleEndian(message.AsSpan(2), (ushort)path.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(message.AsSpan(4), First);
        BinaryPrimitives.WriteUInt32LittleEndian(message.AsSpan(8), Second);
        path.CopyTo(message, HeaderBytes);
        return message;
    }

    /// <summary>Reads what another process sent, which may be anything.</summary>
    /// <returns>False if no process of ours sends that.</returns>
    internal static bool TryRead(ReadOnlySpan<byte> message, out BrokerRequest request)
    {
        request = default;
        if (message.Length is <= HeaderBytes or > BytesMax) return false;
        BrokerCall call = (BrokerCall)message[0];
        ReadOnlySpan<byte> path = message[HeaderBytes..];
        if (call is < BrokerCall.Open or > BrokerCall.Abandon || message[1] > 1 || path.Contains((byte)0)
            || BinaryPrimitives.ReadUInt16LittleEndian(message[2..]) != path.Length) return false;
        string text;
        try
        {
            text = Strict.GetString(path);
        }
        catch (DecoderFallbackException)
        {
            return false;
        }
        bool isName = call == BrokerCall.Tap;
        // A full path without '..', or a name that is no path.
        if (isName ? text.Contains('/', StringComparison.Ordinal) || path.Length > TunCalls.NameLengthMax
            : text[0] != '/' || System.IO.Path.GetFullPath(text) != text) return false;
        request = new BrokerRequest(call, message[1], BinaryPrimitives.ReadUInt32LittleEndian(message[4..]),
            BinaryPrimitives.ReadUInt32LittleEndian(message[8..]), text);
        return true;
    }
}
