using System.Buffers.Binary;
using System.Net.WebSockets;
using System.Text;
using Vmm.Tool;

namespace Vmm.Fuzz;

/// <summary>
/// What a client sends at a console: frames that are right, nearly right, or any bytes, in pieces of any size. Our end and .NET's own
/// WebSocket have to find the same bytes in them, as far as both go on, and whatever is sent ends as one of the known ends.
/// </summary>
internal sealed class WebSocketTarget(Tally tally) : IFuzzTarget
{
    private const int FramesMax = 12, PayloadMax = 9000;

    private static readonly byte[] Opcodes = [0x82, 0x82, 0x02, 0x00, 0x80, 0x89, 0x8a, 0x88, 0x81, 0x09, 0x83, 0xc2];

    public void Run(FuzzInput input)
    {
        int piece = 1 + input.Next(5000);
        byte[] sent = Frames(input);
        (byte[] ours, string end) = ReadOurs(new Wire(sent, piece));
        byte[] theirs = ReadTheirs(new Wire(sent, piece));
        int both = Math.Min(ours.Length, theirs.Length);
        BrokenPromiseException.Unless(ours.AsSpan(0, both).SequenceEqual(theirs.AsSpan(0, both)),
            $"the two read other bytes: {Convert.ToHexString(sent)}");
        // A text is refused here, and the other goes on.
        BrokenPromiseException.Unless(end != "closed" || ours.Length >= theirs.Length,
            $"bytes before a close are missing: {Convert.ToHexString(sent)}");
        tally.Add(end);
        if (both > 0) tally.Add("bytes");
    }

    public void Dispose()
    {
    }

    private static byte[] Frames(FuzzInput input)
    {
        using MemoryStream frames = new();
        int count = 1 + input.Next(FramesMax);
        for (int i = 0; i < count && !input.IsSpent; i++)
        {
            if (input.OneIn(16))
            {
                frames.WriteByte(input.Byte());
                continue;
            }
            byte opcode = input.Pick<byte>(Opcodes);
            bool isControl = (opcode & 8) != 0 && !input.OneIn(8);
            byte[] payload = new byte[isControl ? input.Next(126) : input.OneIn(4) ? input.Next(PayloadMax) : input.Next(20)];
            input.Fill(payload.AsSpan(0, Math.Min(payload.Length, 16)));
            if (opcode == 0x88 && payload.Length >= 2)
                BinaryPrimitives.WriteUInt16BigEndian(payload, input.Pick<ushort>([1000, 1001, 3000, 999, 0]));
            bool isMasked = !input.OneIn(16);
            frames.WriteByte(opcode);
            ulong length = input.OneIn(32) ? input.Interesting() : (ulong)payload.Length;
            Span<byte> header = new byte[9];
            int headerLength = 1;
            if (length < 126 && !input.OneIn(8))
            {
                header[0] = (byte)length;
            }
            else if (length <= ushort.MaxValue && !input.OneIn(8))
            {
                (header[0], headerLength) = (126, 3);
                BinaryPrimitives.WriteUInt16BigEndian(header[1..], (ushort)length);
            }
            else
            {
                (header[0], headerLength) = (127, 9);
                BinaryPrimitives.WriteUInt64BigEndian(header[1..], length);
            }
            if (isMasked) header[0] |= 0x80;
            frames.Write(header[..headerLength]);
            byte[] mask = new byte[4];
            if (isMasked)
            {
                input.Fill(mask);
                frames.Write(mask);
            }
            for (int at = 0; at < payload.Length; at++) frames.WriteByte((byte)(payload[at] ^ mask[at & 3]));
        }
        return frames.ToArray();
    }

    private static (byte[] Bytes, string End) ReadOurs(Wire wire)
    {
        using WebSocketBytes socket = new(wire, isClient: false);
        using MemoryStream got = new();
        byte[] room = new byte[WebSocketBytes.ChunkBytesMax];
        try
        {
            // What is read is there already: nothing waits.
            for (int length; (length = socket.ReadAsync(room, CancellationToken.None).AsTask().GetAwaiter().GetResult()) > 0;)
                got.Write(room, 0, length);
            return (got.ToArray(), "closed");
        }
        catch (Vmm.Tool.WebSocketException broken)
        {
            BrokenPromiseException.Unless(
                Encoding.UTF8.GetByteCount(broken.Message) <= WebSocketBytes.ReasonBytesMax, "a reason is too long");
            return (got.ToArray(), "refused");
        }
        catch (EndOfStreamException)
        {
            return (got.ToArray(), "gone");
        }
    }

    private static byte[] ReadTheirs(Wire wire)
    {
        WebSocketCreationOptions options = new() { IsServer = true, KeepAliveInterval = TimeSpan.Zero };
        using WebSocket socket = WebSocket.CreateFromStream(wire, options);
        using MemoryStream got = new();
        byte[] room = new byte[WebSocketBytes.ChunkBytesMax];
        try
        {
            while (true)
            {
                WebSocketReceiveResult result = socket.ReceiveAsync(room, CancellationToken.None).GetAwaiter().GetResult();
                if (result.MessageType != WebSocketMessageType.Binary) return got.ToArray();
                got.Write(room, 0, result.Count);
            }
        }
        catch (System.Net.WebSockets.WebSocketException)
        {
            return got.ToArray();
        }
    }

    /// <summary>A connection on which everything was sent, and which comes in pieces. What is written to it goes nowhere.</summary>
    private sealed class Wire(byte[] sent, int piece) : MemoryStream(sent, writable: false)
    {
        public override bool CanWrite => true;

        public override int Read(Span<byte> buffer) => base.Read(buffer[..Math.Min(buffer.Length, piece)]);

        public override int Read(byte[] buffer, int offset, int count) => base.Read(buffer, offset, Math.Min(count, piece));

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            new(Read(buffer.Span));

        public override void Write(ReadOnlySpan<byte> buffer)
        {
        }

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) => default;

        public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
