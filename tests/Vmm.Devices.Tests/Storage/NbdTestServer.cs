using System.Buffers.Binary;
using System.Net.Sockets;

namespace Vmm.Devices.Tests;

/// <summary>
/// An NBD server in C#, at a Unix socket: it knows every kind of reply, and lies where a test has it lie. A thread serves each connection.
/// </summary>
internal sealed class NbdTestServer : IDisposable
{
    private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly Lock _lock = new();
    private readonly List<Socket> _clients = [];
    private readonly Random _random = new(7);
    private volatile bool _stopped;

    internal NbdTestServer(int bytes = 1 << 20)
    {
        Content = new byte[bytes];
        _listener.Bind(new UnixDomainSocketEndPoint(SocketPath));
        _listener.Listen(64);
        new Thread(Accept) { IsBackground = true }.Start();
    }

    internal string SocketPath { get; } = ServerProcess.NewSocket();

    internal string Uri => $"nbd+unix:///?socket={SocketPath}";

    internal byte[] Content { get; set; }

    /// <summary>The size that it says it has; null: that of its content.</summary>
    internal ulong? Claimed { get; init; }

    internal NbdFlags Flags { get; set; } = NbdFlags.HasFlags | NbdFlags.SendFlush | NbdFlags.SendFua | NbdFlags.SendTrim
        | NbdFlags.SendWriteZeroes | NbdFlags.CanMultiConn;

    /// <summary>The best kind of replies that it agrees to.</summary>
    internal NbdReplies Replies { get; set; } = NbdReplies.Extended;

    internal (uint Min, uint Preferred, uint Max) Blocks { get; set; } = (1, 4096, 1 << 25);

    /// <summary>Whether reads come in pieces of any size, in any order, with holes for zeroes.</summary>
    internal bool CutsReads { get; set; }

    /// <summary>What it says in place of a reply: gets the request, and writes what it likes. False: the reply is the usual one.</summary>
    internal Func<Request, Stream, bool>? Lie { get; set; }

    /// <summary>What it says in place of its greeting and of answers to options.</summary>
    internal Action<Stream>? Greeting { get; set; }

    /// <summary>The error of a request; 0 for none.</summary>
    internal Func<Request, uint>? Error { get; set; }

    internal int Connections { get; private set; }

    internal List<Request> Requests { get; } = [];

    /// <summary>Whether connections are cut as soon as they are there.</summary>
    internal bool Hangs { get; set; }

    /// <summary>Cuts every connection.</summary>
    internal void Cut()
    {
        lock (_lock)
        {
            foreach (Socket client in _clients) client.Dispose();
            _clients.Clear();
        }
    }

    internal Request[] Seen(NbdCommand command)
    {
        lock (_lock) return [.. Requests.Where(request => request.Command == command)];
    }

    public void Dispose()
    {
        _stopped = true;
        _listener.Dispose();
        Cut();
        File.Delete(SocketPath);
    }

    internal sealed record Request(NbdCommand Command, ushort Flags, ulong Cookie, ulong Offset, ulong Length, byte[] Data);

    private void Accept()
    {
        while (!_stopped)
        {
            Socket client;
            try
            {
                client = _listener.Accept();
            }
            catch (Exception over) when (over is SocketException or ObjectDisposedException)
            {
                return;
            }
            lock (_lock)
            {
                Connections++;
                if (Hangs || _stopped)
                {
                    client.Dispose();
                    continue;
                }
                _clients.Add(client);
            }
            new Thread(() => Serve(client)) { IsBackground = true }.Start();
        }
    }

    private void Serve(Socket client)
    {
        try
        {
            using NetworkStream raw = new(client, ownsSocket: true);
            using BufferedStream stream = new(raw, 1 << 16);
            if (Greeting is { } greeting)
            {
                greeting(stream);
                stream.Flush();
                return;
            }
            if (Negotiate(raw, stream) is { } replies)
            {
                while (ServeOne(raw, stream, replies))
                {
                }
            }
        }
        catch (Exception over) when (over is IOException or SocketException or ObjectDisposedException)
        {
            // The client hung up, or the test did.
        }
        finally
        {
            lock (_lock) _clients.Remove(client);
        }
    }

    private NbdReplies? Negotiate(Stream input, Stream stream)
    {
        Put(stream, NbdProtocol.InitMagic, NbdProtocol.OptionMagic);
        Put16(stream, NbdProtocol.FixedNewstyle | NbdProtocol.NoZeroes);
        stream.Flush();
        Get32(input);
        NbdReplies agreed = NbdReplies.Simple;
        while (true)
        {
            if (Get64(input) != NbdProtocol.OptionMagic) return null;
            uint option = Get32(input);
            Get(input, (int)Get32(input));
            switch (option)
            {
                case NbdProtocol.OptionExtendedHeaders when Replies == NbdReplies.Extended:
                    agreed = NbdReplies.Extended;
                    Reply(stream, option, NbdProtocol.ReplyAck, []);
                    break;
                case NbdProtocol.OptionStructuredReply when Replies >= NbdReplies.Structured:
                    agreed = NbdReplies.Structured;
                    Reply(stream, option, NbdProtocol.ReplyAck, []);
                    break;
                case NbdProtocol.OptionGo:
                    byte[] export = new byte[12], blocks = new byte[14];
                    BinaryPrimitives.WriteUInt64BigEndian(export.AsSpan(2), Claimed ?? (ulong)Content.Length);
                    BinaryPrimitives.WriteUInt16BigEndian(export.AsSpan(10), (ushort)Flags);
                    BinaryPrimitives.WriteUInt16BigEndian(blocks, NbdProtocol.InfoBlockSize);
                    BinaryPrimitives.WriteUInt32BigEndian(blocks.AsSpan(2), Blocks.Min);
                    BinaryPrimitives.WriteUInt32BigEndian(blocks.AsSpan(6), Blocks.Preferred);
                    BinaryPrimitives.WriteUInt32BigEndian(blocks.AsSpan(10), Blocks.Max);
                    Reply(stream, option, NbdProtocol.ReplyInfo, export);
                    Reply(stream, option, NbdProtocol.ReplyInfo, blocks);
                    Reply(stream, option, NbdProtocol.ReplyAck, []);
                    return agreed;
                default:
                    Reply(stream, option, NbdProtocol.ErrorUnsupported, "what is that?"u8);
                    break;
            }
        }
    }

    internal static void Reply(Stream stream, uint option, uint reply, ReadOnlySpan<byte> data)
    {
        Put(stream, NbdProtocol.OptionReplyMagic);
        Put32(stream, option, reply, (uint)data.Length);
        stream.Write(data);
        stream.Flush();
    }

    private bool ServeOne(Stream input, Stream stream, NbdReplies replies)
    {
        uint magic = Get32(input);
        if (magic != (replies == NbdReplies.Extended ? NbdProtocol.ExtendedRequestMagic : NbdProtocol.RequestMagic))
            throw new InvalidOperationException($"the client sends 0x{magic:x} for a request");
        ushort flags = Get16(input);
        NbdCommand command = (NbdCommand)Get16(input);
        ulong cookie = Get64(input), offset = Get64(input), length = replies == NbdReplies.Extended ? Get64(input) : Get32(input);
        byte[] data = command == NbdCommand.Write ? Get(input, (int)length) : [];
        Request request = new(command, flags, cookie, offset, length, data);
        lock (_lock) Requests.Add(request);
        if (command == NbdCommand.Disconnect) return false;
        if (Lie?.Invoke(request, stream) == true)
        {
            stream.Flush();
            return true;
        }
        uint error = Error?.Invoke(request) ?? Check(request);
        if (error == 0) CarryOut(request);
        Answer(stream, request, replies, error);
        stream.Flush();
        return true;
    }

    private uint Check(Request request)
    {
        bool isWhole = ((request.Offset | request.Length) & (Blocks.Min - 1)) == 0;
        bool isInside = request.Offset <= (ulong)Content.Length && request.Length <= (ulong)Content.Length - request.Offset;
        bool isShort = request.Command is not (NbdCommand.Read or NbdCommand.Write) || request.Length <= Blocks.Max;
        return isWhole && isInside && isShort ? 0u : 22u;
    }

    private void CarryOut(Request request)
    {
        Span<byte> place = Content.AsSpan((int)request.Offset, (int)request.Length);
        if (request.Command == NbdCommand.Write) request.Data.CopyTo(place);
        else if (request.Command is NbdCommand.WriteZeroes or NbdCommand.Trim) place.Clear();
    }

    private void Answer(Stream stream, Request request, NbdReplies replies, uint error)
    {
        bool reads = request.Command == NbdCommand.Read;
        if (replies == NbdReplies.Simple)
        {
            Simple(stream, request.Cookie, error);
            if (reads && error == 0) stream.Write(Content.AsSpan((int)request.Offset, (int)request.Length));
            return;
        }
        if (error != 0)
        {
            byte[] text = [.. "an error, with a text"u8];
            Chunk(stream, replies, NbdProtocol.ChunkDone, NbdProtocol.ChunkErrorBit | 1, request, (ulong)(6 + text.Length));
            Put32(stream, error);
            Put16(stream, (ushort)text.Length);
            stream.Write(text);
            return;
        }
        if (!reads)
        {
            Chunk(stream, replies, NbdProtocol.ChunkDone, NbdProtocol.ChunkNone, request, 0);
            return;
        }
        List<(int Start, int Length)> pieces = [(0, (int)request.Length)];
        if (CutsReads) pieces = Cut((int)request.Length);
        for (int i = 0; i < pieces.Count; i++)
        {
            (int start, int length) = pieces[i];
            ushort done = i == pieces.Count - 1 && !CutsReads ? NbdProtocol.ChunkDone : (ushort)0;
            ReadOnlySpan<byte> data = Content.AsSpan((int)request.Offset + start, length);
            bool isHole = CutsReads && !data.ContainsAnyExcept((byte)0);
            Chunk(stream, replies, done, isHole ? NbdProtocol.ChunkHole : NbdProtocol.ChunkData, request, isHole ? 12 : 8 + (ulong)length);
            Put(stream, request.Offset + (ulong)start);
            if (isHole) Put32(stream, (uint)length); else stream.Write(data);
        }
        if (CutsReads) Chunk(stream, replies, NbdProtocol.ChunkDone, NbdProtocol.ChunkNone, request, 0);
    }

    private List<(int Start, int Length)> Cut(int length)
    {
        List<(int Start, int Length)> pieces = [];
        lock (_random)
        {
            for (int at = 0; at < length;)
            {
                int piece = Math.Min(length - at, _random.Next(1, 30_000));
                pieces.Insert(_random.Next(pieces.Count + 1), (at, piece));
                at += piece;
            }
        }
        return pieces;
    }

    internal static void Simple(Stream stream, ulong cookie, uint error)
    {
        Put32(stream, NbdProtocol.SimpleReplyMagic, error);
        Put(stream, cookie);
    }

    internal static void Chunk(Stream stream, NbdReplies replies, ushort flags, int type, Request request, ulong length)
    {
        Put32(stream, replies == NbdReplies.Extended ? NbdProtocol.ExtendedReplyMagic : NbdProtocol.StructuredReplyMagic);
        Put16(stream, flags, (ushort)type);
        Put(stream, request.Cookie);
        if (replies == NbdReplies.Extended) Put(stream, request.Offset, length);
        else Put32(stream, (uint)length);
    }

    internal static void Put(Stream stream, params ReadOnlySpan<ulong> numbers)
    {
        Span<byte> bytes = stackalloc byte[8];
        foreach (ulong number in numbers)
        {
            BinaryPrimitives.WriteUInt64BigEndian(bytes, number);
            stream.Write(bytes);
        }
    }

    internal static void Put32(Stream stream, params ReadOnlySpan<uint> numbers)
    {
        Span<byte> bytes = stackalloc byte[4];
        foreach (uint number in numbers)
        {
            BinaryPrimitives.WriteUInt32BigEndian(bytes, number);
            stream.Write(bytes);
        }
    }

    internal static void Put16(Stream stream, params ReadOnlySpan<ushort> numbers)
    {
        Span<byte> bytes = stackalloc byte[2];
        foreach (ushort number in numbers)
        {
            BinaryPrimitives.WriteUInt16BigEndian(bytes, number);
            stream.Write(bytes);
        }
    }

    private static byte[] Get(Stream stream, int length)
    {
        byte[] bytes = new byte[length];
        stream.ReadExactly(bytes);
        return bytes;
    }

    private static ushort Get16(Stream stream) => BinaryPrimitives.ReadUInt16BigEndian(Get(stream, 2));

    private static uint Get32(Stream stream) => BinaryPrimitives.ReadUInt32BigEndian(Get(stream, 4));

    private static ulong Get64(Stream stream) => BinaryPrimitives.ReadUInt64BigEndian(Get(stream, 8));
}
