using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace Vmm.Devices.Simulation;

/// <summary>
/// One file, by TFTP (RFC 1350) with the block size of RFC 2348, to or from the first peer that asks. Each answer follows from what
/// arrived: who asks repeats what was lost, so it needs no clock.
/// </summary>
/// <param name="offered">The file to give; null to take one.</param>
internal sealed class TftpServer(byte[]? offered) : INetService
{
    /// <summary>Most bytes that are taken.</summary>
    internal const int BytesMax = 64 << 20;

    private const ushort WellKnownPort = 69, TransferPort = 50069;
    private const ushort ReadRequest = 1, WriteRequest = 2, Data = 3, Acknowledge = 4, Error = 5, AcknowledgeOptions = 6;
    private const int HeaderLength = 4;
    private const int StandardBlock = 512, BlockMin = 8;

    private readonly GuestSha256 _hash = new();
    private readonly int _blockMax = StandardBlock;
    private NetEndPoint? _peer;
    private int _block = StandardBlock;
    /// <summary>The block that was sent or acknowledged last; 0 before the first.</summary>
    private long _number;

    /// <param name="offered">The file to give; null to take one.</param>
    /// <param name="mtu">The largest packet of the network.</param>
    internal TftpServer(byte[]? offered, int mtu) : this(offered) =>
        _blockMax = Math.Max(StandardBlock, mtu - NetPacket.IpLength - NetPacket.UdpLength - HeaderLength);

    /// <summary>Whether the other side has it, or has given it.</summary>
    internal bool IsDone { get; private set; }

    /// <summary>Bytes that went over so far.</summary>
    internal long Bytes { get; private set; }

    /// <summary>The checksum of all bytes. Once, when it is done.</summary>
    internal string Sha256() => _hash.Finish();

    public byte[]? Answer(NetEndPoint from, ushort port, ReadOnlySpan<byte> data, out ushort answerPort)
    {
        answerPort = TransferPort;
        if (data.Length < HeaderLength || port is not (WellKnownPort or TransferPort)) return null;
        ushort what = BinaryPrimitives.ReadUInt16BigEndian(data);
        if (port == WellKnownPort) return what is ReadRequest or WriteRequest ? Begin(from, what, data[sizeof(ushort)..]) : null;
        if (from != _peer) return Refuse(5, "another transfer");
        ushort number = BinaryPrimitives.ReadUInt16BigEndian(data[sizeof(ushort)..]);
        return what switch
        {
            Acknowledge when offered is not null => Acknowledged(number),
            Data when offered is null => Take(number, data[HeaderLength..]),
            Error => null,
            _ => Refuse(4, "not now"),
        };
    }

    private byte[]? Begin(NetEndPoint from, ushort what, ReadOnlySpan<byte> request)
    {
        if ((what == ReadRequest) != offered is not null) return Refuse(2, offered is null ? "nothing is offered" : "nothing is taken");
        // Who has begun, and repeats it, did not get our answer.
        if (_peer is not null && (_peer != from || _number > 1)) return Refuse(2, "another transfer");
        _peer = from;
        _number = 0;
        // File name, mode, then names and values of options, each ended by a zero.
        string[] words = Encoding.ASCII.GetString(request).Split('\0');
        int option = Array.FindIndex(words, 2 <= words.Length
            ? 2 : words.Length, word => word.Equals("blksize", StringComparison.OrdinalIgnoreCase));
        if (option >= 0 && option + 1 < words.Length
            && int.TryParse(words[option + 1], NumberStyles.None, CultureInfo.InvariantCulture, out int wanted) && wanted >= BlockMin)
        {
            _block = Math.Min(wanted, _blockMax);
            return [0, (byte)AcknowledgeOptions, .. Encoding.ASCII.GetBytes($"blksize\0{_block}\0")];
        }
        return offered is not null ? Next() : AcknowledgeBlock(0);
    }

    private byte[]? Acknowledged(ushort number)
    {
        if (number != (ushort)_number || IsDone) return null;
        bool wasLast = _number > 0 && (_number - 1) * _block + _block > offered!.Length;
        if (!wasLast) return Next();
        _hash.Add(offered!);
        Bytes = offered!.Length;
        IsDone = true;
        return null;
    }

    /// <summary>The next block. One that is shorter, perhaps empty, is the last.</summary>
    private byte[] Next()
    {
        long start = _number++ * _block;
        byte[] block = new byte[HeaderLength + Math.Min(_block, offered!.Length - start)];
        BinaryPrimitives.WriteUInt16BigEndian(block, Data);
        BinaryPrimitives.WriteUInt16BigEndian(block.AsSpan(2), (ushort)_number);
        offered.AsSpan((int)start, block.Length - HeaderLength).CopyTo(block.AsSpan(HeaderLength));
        return block;
    }

    private byte[]? Take(ushort number, ReadOnlySpan<byte> bytes)
    {
        if (number == (ushort)_number && _number > 0) return AcknowledgeBlock(number);
        if (number != (ushort)(_number + 1) || IsDone || bytes.Length > _block) return null;
        if (Bytes + bytes.Length > BytesMax) return Refuse(3, "too much");
        _number++;
        Bytes += bytes.Length;
        _hash.Add(bytes);
        IsDone = bytes.Length < _block;
        return AcknowledgeBlock(number);
    }

    private static byte[] AcknowledgeBlock(ushort number) => [0, (byte)Acknowledge, (byte)(number >> 8), (byte)number];

    private static byte[] Refuse(byte code, string why) => [0, (byte)Error, 0, code, .. Encoding.ASCII.GetBytes(why), 0];
}
