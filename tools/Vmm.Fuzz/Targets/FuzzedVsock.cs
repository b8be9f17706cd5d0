using System.Net.Sockets;
using System.Runtime.InteropServices;
using Vmm.Devices;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;

namespace Vmm.Fuzz;

/// <summary>
/// Sockets, with programs of the host that listen, connect, say anything, read, stop reading, end one direction and hang up; and packets
/// of the guest whose every field may be anything.
/// </summary>
internal sealed class FuzzedVsock(Tally tally) : FuzzedDevice
{
    private const uint Cid = 3;
    private const uint StreamPort = 1000;
    private const uint MessagePort = 1001;
    private const uint FirstHostPort = (1u << 30) + 1;
    private const int ConnectionsMax = 6;
    private const int PeersMax = 16;

    private static readonly byte[] Words = new byte[8192];
    private static readonly byte[][] Greetings =
    [
        "CONNECT 1\n"u8.ToArray(), "CONNECT 2\nearly"u8.ToArray(), "CONNECT"u8.ToArray(), "CONNECT 99999999999\n"u8.ToArray(),
        new string('x', 40).Select(c => (byte)c).ToArray(), "\n"u8.ToArray(),
    ];

    private static readonly VsockOperation[] Usual =
    [
        VsockOperation.Request, VsockOperation.Data, VsockOperation.Request, VsockOperation.Data, VsockOperation.Request,
        VsockOperation.Data,
        VsockOperation.Data, VsockOperation.Data, VsockOperation.Response, VsockOperation.CreditUpdate, VsockOperation.CreditRequest,
        VsockOperation.Shutdown,
        VsockOperation.Data, VsockOperation.Data, VsockOperation.Reset, VsockOperation.Request,
    ];

    private readonly string _directory = Scratch.NextDirectory();
    private readonly List<UnixSocket> _peers = [];
    private readonly byte[] _read = new byte[8192];
    private UnixSocket? _streams;
    private Socket? _messages;
    private VsockDevice? _device;

    internal override IReadOnlyList<BatteryRequest> Proofs { get; } =
    [
        new(1, Packet(new VsockHeader { SourceCid = Cid, DestinationCid = VsockProtocol.HostCid,
            Type = VsockType.Stream, Operation = VsockOperation.Reset }), 0),
        new(0, [], 100) { Provoke = Connect, Complaint = (_, used) => used == VsockHeader.Bytes ? null : $"{used} bytes of a request" },
        new(2, [], 4) { Provoke = device => ((VsockDevice)device)
            .ResetTransport(), Complaint = (_, used) => used == 4 ? null : $"{used} bytes of an event" },
    ];

    internal override VirtioDevice Make()
    {
        string path = Path.Combine(_directory, "v");
        _streams = UnixEndpoint.Listen($"{path}_{StreamPort}", UnixFileMode.UserRead | UnixFileMode.UserWrite);
        _messages = new Socket(AddressFamily.Unix, SocketType.Seqpacket, ProtocolType.Unspecified);
        _messages.Bind(new UnixDomainSocketEndPoint($"{path}_{MessagePort}"));
        _messages.Listen();
        return _device = new VsockDevice("vsock0", Cid, path, new VsockSpec { ConnectionsMax = ConnectionsMax });
    }

    internal override int WriteRequest(FuzzInput input, int queue, Span<byte> request)
    {
        if (queue != VsockProtocol.TransmitQueue) return 0;
        // One byte decides most packets: what a driver says, with ports few enough that connections are met again.
        int shape = input.Byte();
        bool messages = (shape & 1) != 0;
        VsockOperation operation = Usual[(shape >> 2) % Usual.Length];
        int payload = operation == VsockOperation.Data ? input.Next(DeviceTarget.RequestBytesMax - (int)VsockHeader.Bytes) : 0;
        VsockHeader header = new()
        {
            SourceCid = Cid,
            DestinationCid = VsockProtocol.HostCid,
            SourcePort = (uint)(shape >> 1) & 1,
            DestinationPort = messages ? MessagePort : StreamPort,
            Length = (uint)payload,
            Type = messages ? VsockType.SeqPacket : VsockType.Stream,
            Operation = operation,
            Flags = input.OneIn(4) ? 0 : VsockProtocol.EndOfMessage,
            BufferBytes = 65536,
        };
        if (operation == VsockOperation.Response) (header.SourcePort, header.DestinationPort, header.Type) =
            (1u + (uint)input.Next(2), FirstHostPort + (uint)input.Next(4), VsockType.Stream);
        if (input.OneIn(3)) Distort(input, ref header);
        MemoryMarshal.Write(request, in header);
        request.Slice((int)VsockHeader.Bytes, payload).Fill(input.Byte());
        return (int)VsockHeader.Bytes + payload;
    }

    internal override void HostActs(FuzzInput input)
    {
        BrokenPromiseException.Unless(_device!.Connections <= ConnectionsMax,
            $"{_device.Connections} connections of at most {ConnectionsMax}");
        if (input.OneIn(64)) _device.ResetTransport();
        if (_peers.Count < PeersMax) Meet(input);
        if (_peers.Count == 0) return;
        int which = input.Next(_peers.Count);
        UnixSocket peer = _peers[which];
        switch (input.Next(8))
        {
            case 0:
                peer.Dispose();
                _peers.RemoveAt(which);
                return;
            case 1:
                peer.Shutdown(sending: input.OneIn(2));
                return;
            case 2 or 3 or 4:
                peer.Receive(_read.AsSpan(0, 1 + input.UInt16() % (_read.Length - 1)), out uint got);
                tally.Add("bytes", got);
                return;
            default:
                peer.SendParts(Words.AsSpan(0, input.UInt16() % Words.Length), [], out _);
                return;
        }
    }

    internal override void HostFinishes()
    {
        while (TryAccept())
        {
        }
        _peers.ForEach(peer => peer.Dispose());
        _peers.Clear();
    }

    internal override void HostEnds()
    {
        _streams?.Dispose();
        _messages?.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    /// <summary>Any field becomes anything.</summary>
    private static void Distort(FuzzInput input, ref VsockHeader header)
    {
        switch (input.Next(10))
        {
            case 0: header.SourceCid = input.Interesting(); return;
            case 1: header.DestinationCid = input.Interesting(); return;
            case 2: header.SourcePort = (uint)input.Next(4); return;
            case 3: header.DestinationPort = FirstHostPort + (uint)input.Next(4); return;
            case 4: header.Length = (uint)input.Interesting(); return;
            case 5: header.Type = (VsockType)input.Next(4); return;
            case 6: header.Operation = (VsockOperation)input.Byte(); return;
            case 7: header.Flags = (uint)input.Interesting(); return;
            case 8: header.BufferBytes = (uint)input.Interesting(); return;
            default: header.ForwardedBytes = (uint)input.Interesting(); return;
        }
    }

    /// <summary>A host program connects to the guest, or takes its connection.</summary>
    private void Meet(FuzzInput input)
    {
        if (!input.OneIn(3))
        {
            if (TryAccept()) tally.Add("accepted");
            return;
        }
        if (UnixEndpoint.TryConnect(_device!.Path, isSeqPacket: false, out _) is not { } peer) return;
        peer.SendParts(input.Pick<byte[]>(Greetings), [], out _);
        _peers.Add(peer);
    }

    private bool TryAccept()
    {
        if (_streams!.Accept(out _) is { } stream) _peers.Add(stream);
        else if (_messages!.Poll(0, SelectMode.SelectRead)) _peers.Add(Adopt(_messages.Accept()));
        else return false;
        return true;
    }

    private static UnixSocket Adopt(Socket socket)
    {
        using Socket accepted = socket;
        UnixSocket borrowed = new((int)accepted.SafeHandle.DangerousGetHandle());
        UnixSocket own = borrowed.DuplicateSocket();
        borrowed.SetHandleAsInvalid();
        return own;
    }

    private static void Connect(VirtioDevice device)
    {
        using UnixSocket host = UnixEndpoint.Connect(((VsockDevice)device).Path);
        host.SendParts("CONNECT 7\n"u8, [], out _);
    }

    private static byte[] Packet(VsockHeader header) => MemoryMarshal.AsBytes(new ReadOnlySpan<VsockHeader>(in header)).ToArray();
}
