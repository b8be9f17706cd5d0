using System.Buffers.Binary;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A connection at work: sends requests, many in one call, and takes replies. A write goes out of guest memory; of what is read, short
/// data comes with many replies in one call and is copied, long data is received into guest memory. The server may say anything. On the
/// reactor's thread.
/// </summary>
internal sealed partial class NbdChannel : IDisposable
{
    /// <summary>Most headers in one call.</summary>
    private const int HeadersMax = 64;

    /// <summary>Most vectors in one call (IOV_MAX).</summary>
    private const int VectorsMax = 1024;

    /// <summary>Most calls that send in one turn: then the other devices have theirs.</summary>
    private const int SendsPerTurnMax = 16;

    private static readonly Interest Watched = Interest.Readable.AndReadHangUp.EdgeTriggered;

    private readonly NbdLink _link;
    private readonly IReactor _reactor;
    private readonly Subscription<OwnedFd> _readable;
    private readonly WritableWatch _writable;
    private readonly PinnedBytes _headers = new(HeadersMax * NbdProtocol.ExtendedRequestLength);
    private readonly IoVector[] _vectors = new IoVector[VectorsMax];
    private NbdList _toSend;

    /// <summary>Bytes of the first of them that went out already.</summary>
    private ulong _sent;
    private bool _awaitsRoom;
    private bool _disposed;

    /// <param name="link">Gets the replies.</param>
    /// <param name="reactor">Watches the socket.</param>
    /// <param name="connection">Taken over.</param>
    internal NbdChannel(NbdLink link, IReactor reactor, NbdConnection connection)
    {
        _link = link;
        _reactor = reactor;
        Export = connection.Export;
        Socket = connection.Socket;
        _readable = Watched.WithFd(connection.Socket.Duplicate()).WithHandler((_, ready, _) => Receive(ready.IsReadHangUp
            || ready.IsHangUp || ready.IsError));
        _writable = new WritableWatch(connection.Socket, reactor, HasRoom);
        reactor.Add(_readable);
    }

    internal NbdExport Export { get; }

    internal OwnedFd Socket { get; }

    /// <summary>Requests that are to be sent or answered.</summary>
    internal int InFlight { get; private set; }

    /// <summary>Whether nothing is in flight in either direction.</summary>
    internal bool IsIdle => InFlight == 0 && Staged == 0 && _skipLeft == 0;

    /// <summary>Takes a request; <see cref="Flush"/> sends it.</summary>
    internal void Add(NbdTransfer transfer)
    {
        transfer.BeginRequest(this);
        _toSend.Add(transfer);
        InFlight++;
    }

    /// <summary>Sends what there is, as far as there is room.</summary>
    internal void Flush()
    {
        for (int sends = 0; _toSend.First is not null && !_awaitsRoom && !_disposed; sends++)
        {
            if (sends == SendsPerTurnMax)
            {
                AwaitRoom();
                return;
            }
            int count = Gather(out ulong bytes);
            Errno error = VectorCalls.Send(Socket.Number, _vectors.AsSpan(0, count), out int written);
            if (error == Errno.Again)
            {
                AwaitRoom();
                return;
            }
            if (error == Errno.Interrupted) continue;
            if (error != Errno.None)
            {
                _link.Lost(this, $"broke the connection: {KernelException.Describe(error)}");
                return;
            }
            Went((ulong)written);
            if ((ulong)written < bytes) AwaitRoom();
        }
    }

    /// <summary>Says goodbye if nothing is in flight, and closes the connection.</summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        if (InFlight == 0) SayGoodbye(Socket, Export);
        _writable.Dispose();
        _reactor.Remove(_readable);
        Socket.Dispose();
    }

    /// <summary>Stops watching an idle connection that is kept for later.</summary>
    internal NbdConnection Detach()
    {
        _disposed = true;
        OwnedFd socket = Socket.Duplicate();
        _writable.Dispose();
        _reactor.Remove(_readable);
        Socket.Dispose();
        return new NbdConnection(socket, Export);
    }

    internal static void SayGoodbye(OwnedFd socket, NbdExport export)
    {
        Span<byte> request = stackalloc byte[NbdProtocol.ExtendedRequestLength];
        request.Clear();
        bool isExtended = export.Replies == NbdReplies.Extended;
        BinaryPrimitives.WriteUInt32BigEndian(request, isExtended ? NbdProtocol.ExtendedRequestMagic : NbdProtocol.RequestMagic);
        BinaryPrimitives.WriteUInt16BigEndian(request[6..], (ushort)NbdCommand.Disconnect);
        // A server that is gone, or has no room, sees the hang-up.
        _ = StreamCalls.Send(socket.Number, request[..export.RequestLength], out _);
    }

    /// <summary>Describes requests from the first on, as many as fit.</summary>
    private int Gather(out ulong bytes)
    {
        int vectors = 0, header = 0;
        ulong skip = _sent;
        bytes = 0;
        bool hasRoom = true;
        for (NbdTransfer? transfer = _toSend.First; transfer is not null && hasRoom && header < HeadersMax
            && vectors < VectorsMax - 1; transfer = transfer.Next)
        {
            int start = header * NbdProtocol.ExtendedRequestLength;
            int length = transfer.WriteHeader(_headers.AsSpan(start), Export);
            header++;
            if (skip < (ulong)length)
            {
                _vectors[vectors++] = _headers.Piece(start + (int)skip, length - (int)skip);
                bytes += (ulong)length - skip;
                skip = 0;
            }
            else
            {
                skip -= (ulong)length;
            }
            if (transfer.Payload == 0) continue;
            ulong left = transfer.Payload - skip;
            vectors += transfer.Describe(skip, left, _vectors.AsSpan(vectors), out ulong described);
            bytes += described;
            hasRoom = described == left;
            skip = 0;
        }
        return vectors;
    }

    /// <summary>Takes note of bytes that went out.</summary>
    private void Went(ulong bytes)
    {
        bytes += _sent;
        while (_toSend.First is { } first)
        {
            ulong whole = (ulong)Export.RequestLength + first.Payload;
            if (bytes < whole) break;
            bytes -= whole;
            _toSend.Take()!.IsSent = true;
        }
        _sent = bytes;
    }

    private void AwaitRoom()
    {
        _awaitsRoom = true;
        _writable.Await();
    }

    private void HasRoom()
    {
        _awaitsRoom = false;
        Flush();
    }
}
