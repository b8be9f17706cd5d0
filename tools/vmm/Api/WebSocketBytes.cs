using System.Buffers.Binary;
using System.Text;

namespace Vmm.Tool;

/// <summary>
/// A WebSocket (RFC 6455) that carries a stream of bytes in each direction, in binary messages; where a message ends says nothing.
/// Either end of it. One reader and any number of writers.
/// </summary>
/// <remarks>
/// Not .NET's own: its client makes masks by OpenSSL, which a process in its sandbox cannot load, and a minimal system does not have.
/// </remarks>
internal sealed class WebSocketBytes(Stream stream, bool isClient) : IDisposable
{
    /// <summary>Most bytes of one call, and of one frame that is written.</summary>
    internal const int ChunkBytesMax = 4096;

    /// <summary>What may be said of a close: a control frame has 125 bytes, two of them the status.</summary>
    internal const int ReasonBytesMax = 123;

    internal const int NormalClosure = 1000, GoingAway = 1001, ProtocolError = 1002, UnsupportedData = 1003, PolicyViolation = 1008;

    private const int ControlBytesMax = 125, HeaderBytesMax = 14;
    private const byte Final = 0x80, Reserved = 0x70, Masked = 0x80;

    private readonly SemaphoreSlim _writing = new(1);
    private readonly byte[] _header = new byte[HeaderBytesMax];
    private readonly byte[] _control = new byte[ControlBytesMax];
    private readonly byte[] _mask = new byte[4];
    private readonly byte[] _frame = new byte[HeaderBytesMax + ChunkBytesMax];
    private ulong _left;
    private int _maskAt;
    private int _controlLength;
    private bool _inMessage;

    private enum Opcode : byte
    {
        Continuation = 0,
        Text = 1,
        Binary = 2,
        Close = 8,
        Ping = 9,
        Pong = 10,
    }

    /// <summary>Why the other end closed: status and reason; null if it has not, or did not say.</summary>
    internal (int Status, string Reason)? Closed { get; private set; }

    /// <summary>The next bytes. Up to <see cref="ChunkBytesMax"/> bytes of a frame are read whole.</summary>
    /// <returns>How many; 0 when the other end has closed.</returns>
    /// <exception cref="WebSocketException">It broke the protocol; the connection is to be closed.</exception>
    /// <exception cref="IOException">The connection is gone.</exception>
    internal async ValueTask<int> ReadAsync(Memory<byte> bytes, CancellationToken cancel)
    {
        while (_left == 0)
        {
            Opcode opcode = await ReadHeaderAsync(cancel).ConfigureAwait(false);
            if (opcode < Opcode.Close) continue;
            if (await TakeControlAsync(opcode, cancel).ConfigureAwait(false)) return 0;
        }
        int length = (int)Math.Min(_left, (ulong)Math.Min(bytes.Length, ChunkBytesMax));
        await stream.ReadExactlyAsync(bytes[..length], cancel).ConfigureAwait(false);
        Unmask(bytes.Span[..length]);
        _left -= (ulong)length;
        return length;
    }

    /// <summary>Sends bytes.</summary>
    /// <param name="bytes">At most <see cref="ChunkBytesMax"/>.</param>
    /// <param name="cancel">Gives up; what was sent may be half a frame, so the connection is of no more use then.</param>
    internal ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancel) => WriteAsync(Opcode.Binary, bytes, cancel);

    /// <summary>Says that this end is done, and why.</summary>
    internal ValueTask CloseAsync(int status, string reason, CancellationToken cancel)
    {
        byte[] text = Encoding.UTF8.GetBytes(reason);
        byte[] payload = new byte[2 + Math.Min(text.Length, ReasonBytesMax)];
        BinaryPrimitives.WriteUInt16BigEndian(payload, (ushort)status);
        text.AsSpan(0, payload.Length - 2).CopyTo(payload.AsSpan(2));
        return WriteAsync(Opcode.Close, payload, cancel);
    }

    public void Dispose() => _writing.Dispose();

    /// <summary>Reads and checks the header of a frame; of one that carries data, the payload is left to be read.</summary>
    private async ValueTask<Opcode> ReadHeaderAsync(CancellationToken cancel)
    {
        await stream.ReadExactlyAsync(_header.AsMemory(0, 2), cancel).ConfigureAwait(false);
        bool isFinal = (_header[0] & Final) != 0, isMasked = (_header[1] & Masked) != 0;
        Opcode opcode = (Opcode)(_header[0] & 0x0f);
        ulong length = (ulong)(_header[1] & 0x7f);
        if ((_header[0] & Reserved) != 0) throw Broken("a reserved bit is set");
        if (isMasked == isClient) throw Broken(isClient ? "a server's frame is masked" : "a client's frame is not masked");
        if (opcode == Opcode.Text)
            throw new WebSocketException(UnsupportedData, "a console takes bytes: send binary messages");
        bool isControl = opcode is Opcode.Close or Opcode.Ping or Opcode.Pong;
        if (!isControl && opcode is not (Opcode.Continuation or Opcode.Binary)) throw Broken("there is no such kind of frame");
        if (isControl && (!isFinal || length > ControlBytesMax)) throw Broken("a control frame is in pieces, or too long");
        if (!isControl && _inMessage != (opcode == Opcode.Continuation)) throw Broken("the pieces of a message are out of order");
        int extended = length switch { 126 => 2, 127 => 8, _ => 0 };
        if (extended > 0)
        {
            await stream.ReadExactlyAsync(_header.AsMemory(0, extended), cancel).ConfigureAwait(false);
            length = extended == 2 ? BinaryPrimitives.ReadUInt16BigEndian(_header) : BinaryPrimitives.ReadUInt64BigEndian(_header);
            if (length > long.MaxValue) throw Broken("a frame's length has its highest bit set");
        }
        if (isMasked) await stream.ReadExactlyAsync(_mask, cancel).ConfigureAwait(false);
        else _mask.AsSpan().Clear();
        _maskAt = 0;
        if (isControl)
        {
            await stream.ReadExactlyAsync(_control.AsMemory(0, (int)length), cancel).ConfigureAwait(false);
            Unmask(_control.AsSpan(0, (int)length));
            _controlLength = (int)length;
        }
        else
        {
            _inMessage = !isFinal;
            _left = length;
        }
        return opcode;
    }

    /// <returns>Whether the other end closed.</returns>
    private async ValueTask<bool> TakeControlAsync(Opcode opcode, CancellationToken cancel)
    {
        if (opcode == Opcode.Ping) await WriteAsync(Opcode.Pong, _control.AsMemory(0, _controlLength), cancel).ConfigureAwait(false);
        if (opcode != Opcode.Close) return false;
        if (_controlLength >= 2)
        {
            Closed = (BinaryPrimitives.ReadUInt16BigEndian(_control), Encoding.UTF8.GetString(_control, 2, _controlLength - 2));
        }
        return true;
    }

    private async ValueTask WriteAsync(Opcode opcode, ReadOnlyMemory<byte> payload, CancellationToken cancel)
    {
        await _writing.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            await stream.WriteAsync(Frame(opcode, payload.Span), cancel).ConfigureAwait(false);
            await stream.FlushAsync(cancel).ConfigureAwait(false);
        }
        finally
        {
            _writing.Release();
        }
    }

    private ReadOnlyMemory<byte> Frame(Opcode opcode, ReadOnlySpan<byte> payload)
    {
        _frame[0] = (byte)(Final | (byte)opcode);
        int at = 2;
        if (payload.Length < 126)
        {
            _frame[1] = (byte)payload.Length;
        }
        else
        {
            _frame[1] = 126;
            BinaryPrimitives.WriteUInt16BigEndian(_frame.AsSpan(2), (ushort)payload.Length);
            at += 2;
        }
        if (isClient)
        {
            // A mask of zeros, which changes nothing: masks protect proxies, and the other end is a socket of this host.
            _frame[1] |= Masked;
            _frame.AsSpan(at, 4).Clear();
            at += 4;
        }
        payload.CopyTo(_frame.AsSpan(at));
        return _frame.AsMemory(0, at + payload.Length);
    }

    private void Unmask(Span<byte> bytes)
    {
        for (int i = 0; i < bytes.Length; i++) bytes[i] ^= _mask[_maskAt++ & 3];
    }

    private static WebSocketException Broken(string how) => new(ProtocolError, how);
}

/// <summary>The other end of a WebSocket broke the protocol.</summary>
internal sealed class WebSocketException(int status, string reason) : Exception(reason)
{
    /// <summary>What to close with.</summary>
    internal int Status => status;
}
