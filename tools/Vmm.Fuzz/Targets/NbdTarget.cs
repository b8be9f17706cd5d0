using System.Buffers.Binary;
using System.Diagnostics;
using Vmm.Devices;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Fuzz;

/// <summary>
/// An NBD server that says anything: in its handshake, and in its replies to a disk that a guest uses. It breaks that connection and
/// nothing else: memory that was not asked for stays as it is, each request is answered once, and the next connection serves.
/// </summary>
internal sealed class NbdTarget : IFuzzTarget
{
    private const int Bytes = 1 << 20;
    private const int StepsMax = 40;
    private const int RequestsMax = 24;
    private const byte Canary = 0xa5;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private static readonly NbdAddress Address = new() { Text = "nbd+unix:///fuzz?socket=fuzz" };

    private readonly Tally _tally;
    private readonly NbdReplies _replies;
    private readonly SimulatedGuest _guest;
    private readonly List<(NbdCommand Command, ulong Cookie, ulong Offset, ulong Length)> _asked = [];
    private readonly byte[] _received = new byte[1 << 16];
    private readonly Lock _lock = new();
    private OwnedFd? _server;
    private ulong _owed;

    internal NbdTarget(Tally tally, bool isExtended)
    {
        _tally = tally;
        _replies = isExtended ? NbdReplies.Extended : NbdReplies.Structured;
        NbdDisk disk = new(Address, _ => Connect(), Connect(), readOnly: false, TimeSpan.Zero, connections: 1);
        _guest = SimulatedGuest.For(new BlockDevice("vda", disk));
    }

    public void Run(FuzzInput input)
    {
        if (input.OneIn(4)) Greet(input);
        else Reply(input);
    }

    public void Dispose()
    {
        Hang();
        _guest.Dispose();
        Hang();
    }

    /// <summary>A handshake of noise ends, by an export or by a sentence.</summary>
    private void Greet(FuzzInput input)
    {
        (OwnedFd ours, OwnedFd theirs) = UnixSocket.Pair();
        using OwnedFd server = theirs;
        byte[] greeting = new byte[18 + (4 * 64)];
        int length = Greeting(input, greeting);
        _ = StreamCalls.Send(server.Number, greeting.AsSpan(0, length), out _);
        _ = SocketCalls.Shutdown(server.Number, SocketCalls.SHUT_WR);
        try
        {
            using NbdConnection connection = NbdHandshake.Agree(Address, ours);
            BrokenPromiseException.Unless(connection.Export.Bytes is > 0 and <= long.MaxValue
                && connection.Export.Bytes % 512 == 0, "a disk has whole sectors");
            _tally.Add("agreed");
        }
        catch (DiskImageException)
        {
            _tally.Add("refused");
        }
    }

    private static int Greeting(FuzzInput input, Span<byte> greeting)
    {
        BinaryPrimitives.WriteUInt64BigEndian(greeting, NbdProtocol.InitMagic);
        BinaryPrimitives.WriteUInt64BigEndian(greeting[8..], NbdProtocol.OptionMagic);
        BinaryPrimitives.WriteUInt16BigEndian(greeting[16..], NbdProtocol.FixedNewstyle);
        // Noise alone agrees once in hundreds of times: a third begins with what a good server says.
        int at = input.OneIn(3) ? Agreement(greeting) : Noise(input, greeting);
        if (input.OneIn(6)) greeting[input.Next(at)] ^= (byte)(1 << input.Next(8));
        return input.OneIn(6) ? input.Next(at) : at;
    }

    private static int Agreement(Span<byte> greeting)
    {
        int at = 18;
        foreach ((uint option, uint reply, int length) in (ReadOnlySpan<(uint, uint, int)>)
            [(NbdProtocol.OptionExtendedHeaders, NbdProtocol.ReplyAck, 0), (NbdProtocol.OptionGo, NbdProtocol.ReplyInfo, 12),
            (NbdProtocol.OptionGo, NbdProtocol.ReplyAck, 0)])
        {
            WriteReply(greeting[at..], option, reply, (uint)length);
            if (length > 0) BinaryPrimitives.WriteUInt64BigEndian(greeting[(at + 20 + 2)..], Bytes);
            at += 20 + length;
        }
        return at;
    }

    private static int Noise(FuzzInput input, Span<byte> greeting)
    {
        int at = 18;
        uint[] options = [NbdProtocol.OptionExtendedHeaders, NbdProtocol.OptionStructuredReply, NbdProtocol.OptionGo,
            NbdProtocol.OptionGo, NbdProtocol.OptionGo];
        foreach (uint option in options)
        {
            if (at + 20 + 14 > greeting.Length) break;
            uint reply = option != NbdProtocol.OptionGo
                ? input.Pick<uint>([NbdProtocol.ReplyAck, NbdProtocol.ErrorUnsupported, input.UInt32()])
                : input.Pick<uint>([NbdProtocol.ReplyInfo, NbdProtocol.ReplyInfo, NbdProtocol.ReplyAck, NbdProtocol.ErrorUnknown]);
            int length = reply == NbdProtocol.ReplyInfo ? input.Pick<int>([12, 14, 2]) : input.OneIn(4) ? 5 : 0;
            WriteReply(greeting[at..], option, reply, input.OneIn(16) ? input.UInt32() : (uint)length);
            Span<byte> data = greeting.Slice(at + 20, length);
            if (length == 14) data[1] = (byte)NbdProtocol.InfoBlockSize;
            for (int i = 2; i < length; i++) data[i] = input.OneIn(3) ? input.Byte() : (byte)0;
            at += 20 + length;
        }
        return at;
    }

    private static void WriteReply(Span<byte> destination, uint option, uint reply, uint length)
    {
        BinaryPrimitives.WriteUInt64BigEndian(destination, NbdProtocol.OptionReplyMagic);
        BinaryPrimitives.WriteUInt32BigEndian(destination[8..], option);
        BinaryPrimitives.WriteUInt32BigEndian(destination[12..], reply);
        BinaryPrimitives.WriteUInt32BigEndian(destination[16..], length);
    }

    /// <summary>A guest uses the disk while its server says anything.</summary>
    private void Reply(FuzzInput input)
    {
        List<DriverRequest> requests = [];
        for (int step = 0; !input.IsSpent && step < StepsMax; step++)
        {
            if (requests.Count < RequestsMax && input.OneIn(2)) requests.Add(Ask(input));
            Turn();
            Listen();
            if (input.OneIn(2)) SayAnything(input);
            if (input.OneIn(30)) Hang();
            Turn();
        }
        // What is not answered by now fails with its connection.
        Hang();
        Await(() => requests.TrueForAll(request => request.IsUsed), "a request is not answered, although its server is gone");
        foreach (DriverRequest request in requests)
        {
            _tally.Add(((BlockStatus)request.Content[^1]).ToString());
            foreach (GuestBuffer buffer in request.Writable.SkipLast(1)) CheckCanaries(buffer);
            _guest.Queue(0).Free(request);
        }
        Prove();
    }

    private DriverRequest Ask(FuzzInput input)
    {
        int kind = input.Next(4), sectors = 1 + input.Next(8);
        byte[] header = new byte[16];
        header[0] = (byte)(kind switch { 0 or 1 => BlockRequestType.In, 2 => BlockRequestType.Out, _ => BlockRequestType.Flush });
        header[8] = (byte)input.Next(64);
        GuestBuffer head = _guest.Queue(0).Place(header), status = _guest.Queue(0).Place([0xff]);
        // Each buffer of a read lies between canaries.
        byte[] guarded = new byte[(sectors * 512) + 64];
        guarded.AsSpan().Fill(Canary);
        GuestBuffer around = _guest.Queue(0).Place(guarded), data = new(around.Address + 32, (uint)(sectors * 512));
        DriverRequest request = kind switch
        {
            0 or 1 => _guest.Queue(0).Add([head], [data, status]),
            2 => _guest.Queue(0).Add([head, data], [status]),
            _ => _guest.Queue(0).Add([head], [status]),
        };
        _guest.Kick(0);
        return request;
    }

    private void CheckCanaries(GuestBuffer data)
    {
        Span<byte> guard = stackalloc byte[32];
        foreach (ulong at in (ReadOnlySpan<ulong>)[data.Address - 32, data.Address + data.Length])
        {
            _guest.Memory.TryRead(at, guard);
            BrokenPromiseException.Unless(!guard.ContainsAnyExcept(Canary), "memory beside a read was written");
        }
    }

    /// <summary>Reads what the disk asks for.</summary>
    private void Listen()
    {
        if (Server is not { } server || StreamCalls.Read(server.Number, _received, out int length) != Errno.None || length == 0) return;
        int header = _replies == NbdReplies.Extended ? NbdProtocol.ExtendedRequestLength : NbdProtocol.RequestLength;
        ReadOnlySpan<byte> bytes = _received.AsSpan(0, length);
        ulong skipped = Math.Min(_owed, (ulong)bytes.Length);
        _owed -= skipped;
        bytes = bytes[(int)skipped..];
        while (bytes.Length >= header)
        {
            NbdCommand command = (NbdCommand)BinaryPrimitives.ReadUInt16BigEndian(bytes[6..]);
            ulong count = header == NbdProtocol.RequestLength
                ? BinaryPrimitives.ReadUInt32BigEndian(bytes[24..]) : BinaryPrimitives.ReadUInt64BigEndian(bytes[24..]);
            _asked.Add((command, BinaryPrimitives.ReadUInt64BigEndian(bytes[8..]), BinaryPrimitives.ReadUInt64BigEndian(bytes[16..]),
                count));
            bytes = bytes[header..];
            ulong payload = command == NbdCommand.Write ? count : 0;
            skipped = Math.Min(payload, (ulong)bytes.Length);
            _owed = payload - skipped;
            bytes = bytes[(int)skipped..];
        }
    }

    private void SayAnything(FuzzInput input)
    {
        if (Server is not { } server) return;
        (NbdCommand command, ulong cookie, ulong offset, ulong length) =
            _asked.Count > 0 ? _asked[input.Next(_asked.Count)] : (NbdCommand.Read, input.UInt64(), 0UL, 512UL);
        bool reads = command == NbdCommand.Read;
        byte[] reply = new byte[32 + 16 + 4096];
        int header = _replies == NbdReplies.Extended ? NbdProtocol.ExtendedReplyLength : NbdProtocol.StructuredReplyLength;
        int type = input.Next(8);
        ushort chunk = type switch
        {
            0 or 1 or 2 => reads ? NbdProtocol.ChunkData : NbdProtocol.ChunkNone,
            3 => NbdProtocol.ChunkHole,
            4 => NbdProtocol.ChunkErrorBit | 1,
            5 => NbdProtocol.ChunkNone,
            _ => input.UInt16(),
        };
        ulong part = input.OneIn(3) ? input.UInt16() : length;
        ulong payload = chunk switch
        {
            NbdProtocol.ChunkData => 8 + part,
            NbdProtocol.ChunkHole => 12,
            NbdProtocol.ChunkNone => 0,
            _ => (ulong)(6 + input.Next(20))
        };
        if (input.OneIn(12)) payload = input.Interesting();
        BinaryPrimitives.WriteUInt32BigEndian(reply, _replies == NbdReplies.Extended
            ? NbdProtocol.ExtendedReplyMagic : NbdProtocol.StructuredReplyMagic);
        BinaryPrimitives.WriteUInt16BigEndian(reply.AsSpan(4), (ushort)(input.OneIn(4) ? 0 : 1));
        BinaryPrimitives.WriteUInt16BigEndian(reply.AsSpan(6), chunk);
        BinaryPrimitives.WriteUInt64BigEndian(reply.AsSpan(8), input.OneIn(20) ? input.UInt64() : cookie);
        if (header == NbdProtocol.ExtendedReplyLength) BinaryPrimitives.WriteUInt64BigEndian(reply.AsSpan(24), payload);
        else BinaryPrimitives.WriteUInt32BigEndian(reply.AsSpan(16), (uint)payload);
        BinaryPrimitives.WriteUInt64BigEndian(reply.AsSpan(header), input.OneIn(8) ? offset + input.Interesting() : offset);
        if (chunk == NbdProtocol.ChunkHole) BinaryPrimitives.WriteUInt32BigEndian(reply.AsSpan(header + 8), (uint)part);
        if (input.OneIn(10)) reply[input.Next(header)] ^= (byte)(1 << input.Next(8));
        int whole = header + (int)Math.Min(payload, 4096 + 16);
        int cut = input.OneIn(8) ? input.Next(whole) : whole;
        _ = StreamCalls.Send(server.Number, reply.AsSpan(0, cut), out _);
        _tally.Add("replies");
    }

    /// <summary>A request over the connection that comes next is answered as it should be.</summary>
    private void Prove()
    {
        Await(() => Server is not null, "no connection is made anew");
        byte[] header = new byte[16];
        GuestBuffer head = _guest.Queue(0).Place(header), status = _guest.Queue(0).Place([0xff]),
            data = _guest.Queue(0).Place(new byte[512]);
        DriverRequest? read = null;
        Await(() =>
        {
            if (read is null or { IsUsed: true })
            {
                read = _guest.Queue(0).Add([head], [data, status]);
                _guest.Kick(0);
            }
            Turn();
            _asked.Clear();
            Listen();
            foreach ((NbdCommand _, ulong cookie, ulong offset, ulong length) in _asked) Good(cookie, offset, (int)length);
            Turn();
            return read is { IsUsed: true } && (BlockStatus)read.Content[^1] == BlockStatus.Ok;
        }, "the next connection does not serve");
        BrokenPromiseException.Unless(!read!.Content.AsSpan(0, 512).ContainsAnyExcept((byte)0x5a), "a read brought something else "
            + "than its server sent");
        _asked.Clear();
        _guest.Queue(0).Free(read);
    }

    private void Good(ulong cookie, ulong offset, int length)
    {
        if (Server is not { } server || length > 4096) return;
        int header = _replies == NbdReplies.Extended ? NbdProtocol.ExtendedReplyLength : NbdProtocol.StructuredReplyLength;
        byte[] reply = new byte[header + 8 + length];
        BinaryPrimitives.WriteUInt32BigEndian(reply, _replies == NbdReplies.Extended
            ? NbdProtocol.ExtendedReplyMagic : NbdProtocol.StructuredReplyMagic);
        reply[5] = 1;
        reply[7] = 1;
        BinaryPrimitives.WriteUInt64BigEndian(reply.AsSpan(8), cookie);
        if (header == NbdProtocol.ExtendedReplyLength) BinaryPrimitives.WriteUInt64BigEndian(reply.AsSpan(24), (ulong)(8 + length));
        else BinaryPrimitives.WriteUInt32BigEndian(reply.AsSpan(16), (uint)(8 + length));
        BinaryPrimitives.WriteUInt64BigEndian(reply.AsSpan(header), offset);
        reply.AsSpan(header + 8).Fill(0x5a);
        _ = StreamCalls.Send(server.Number, reply, out _);
    }

    /// <summary>Called on a thread of the pool, when the disk connects again.</summary>
    private NbdConnection Connect()
    {
        (OwnedFd ours, OwnedFd theirs) = UnixSocket.Pair();
        const NbdFlags Flags = NbdFlags.HasFlags | NbdFlags.SendFlush | NbdFlags.SendFua | NbdFlags.SendTrim | NbdFlags.SendWriteZeroes;
        lock (_lock)
        {
            _server?.Dispose();
            _server = theirs;
        }
        return new NbdConnection(ours, new NbdExport(Bytes, Flags, _replies, 1, 4096, 1 << 20));
    }

    private OwnedFd? Server
    {
        get
        {
            lock (_lock) return _server;
        }
    }

    private void Hang()
    {
        lock (_lock)
        {
            _server?.Dispose();
            _server = null;
        }
        _asked.Clear();
        _owed = 0;
    }

    private void Turn() => _guest.RunUntilIdle();

    private void Await(Func<bool> condition, string otherwise)
    {
        long start = Stopwatch.GetTimestamp();
        while (!condition())
        {
            BrokenPromiseException.Unless(Stopwatch.GetElapsedTime(start) < Patience, otherwise);
            _guest.Reactor.RunOnce(TimeSpan.FromMilliseconds(5));
            _guest.RunUntilIdle();
        }
    }
}
