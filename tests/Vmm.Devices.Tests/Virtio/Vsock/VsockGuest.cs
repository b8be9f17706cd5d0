using System.Net.Sockets;
using System.Runtime.InteropServices;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>A packet the device sent.</summary>
internal readonly record struct VsockPacket(VsockHeader Header, byte[] Payload)
{
    internal VsockOperation Operation => Header.Operation;
}

/// <summary>A guest with a vsock device, and a driver that says exactly what a test wants it to say.</summary>
internal sealed class VsockGuest : IDisposable
{
    internal const uint Cid = 3;
    internal const uint Buffer = 64 * 1024;

    /// <summary>The ports most tests speak of.</summary>
    internal const uint PortOfGuest = 40_000, PortOfHost = 1234;

    private const int ReceiveQueue = 0;
    private const int TransmitQueue = 1;

    private readonly string _directory = Path.Combine(Path.GetTempPath(), $"vmm-vsock-{Guid.NewGuid():n}");
    private readonly Queue<DriverRequest> _buffers = new();
    private readonly int _bufferBytes;

    internal VsockGuest(ulong features = ulong.MaxValue, int buffers = 32, int bufferBytes = 4096, VsockSpec? options = null)
        : this(new SimulatedGuestOptions { Features = features, MemoryBytes = 64 << 20 }, buffers, bufferBytes, options)
    {
    }

    internal VsockGuest(SimulatedGuestOptions guest, int buffers = 32, int bufferBytes = 4096, VsockSpec? options = null)
    {
        Directory.CreateDirectory(_directory);
        Base = Path.Combine(_directory, "v");
        _bufferBytes = bufferBytes;
        Device = new VsockDevice("vsock0", Cid, Base, options);
        Guest = SimulatedGuest.For(Device, guest);
        GiveBuffers(buffers);
    }

    /// <summary>Where the host connects.</summary>
    internal string Base { get; }

    internal VsockDevice Device { get; }

    internal SimulatedGuest Guest { get; }

    internal void GiveBuffers(int count)
    {
        for (int i = 0; i < count; i++) _buffers.Enqueue(Guest.Queue(ReceiveQueue).Add(writable: [_bufferBytes]));
        if (count > 0) Guest.Kick(ReceiveQueue).RunUntilIdle();
    }

    /// <summary>A program of the host that listens on one of its ports.</summary>
    internal Socket Listen(uint port, SocketType type = SocketType.Stream, int backlog = 16)
    {
        Socket listener = new(AddressFamily.Unix, type, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint($"{Base}_{port}"));
        listener.Listen(backlog);
        return listener;
    }

    /// <summary>A program of the host that connects to the device and says something.</summary>
    internal Socket Connect(string words = "")
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 10_000 };
        socket.Connect(new UnixDomainSocketEndPoint(Base));
        if (words.Length > 0) socket.Send(System.Text.Encoding.ASCII.GetBytes(words));
        Guest.RunUntilIdle();
        return socket;
    }

    internal static VsockHeader Header(VsockOperation operation, uint guestPort, uint hostPort, uint length = 0, uint flags = 0, uint forwarded = 0,
        uint buffer = Buffer, VsockType type = VsockType.Stream) => new()
        {
            SourceCid = Cid,
            DestinationCid = VsockProtocol.HostCid,
            SourcePort = guestPort,
            DestinationPort = hostPort,
            Length = length,
            Type = type,
            Operation = operation,
            Flags = flags,
            BufferBytes = buffer,
            ForwardedBytes = forwarded,
        };

    internal static byte[] BytesOf(VsockHeader header) => MemoryMarshal.AsBytes(new ReadOnlySpan<VsockHeader>(in header)).ToArray();

    /// <summary>Makes a packet available, and has the device look.</summary>
    internal DriverRequest Send(VsockHeader header, byte[]? payload = null)
    {
        DriverRequest request = Guest.Queue(TransmitQueue).Add(payload is { Length: > 0 } ? [BytesOf(header), payload] : [BytesOf(header)]);
        Guest.Kick(TransmitQueue).RunUntilIdle();
        return request;
    }

    internal DriverRequest Send(VsockOperation operation, uint guestPort, uint hostPort, byte[]? payload = null, uint flags = 0, uint forwarded = 0,
        VsockType type = VsockType.Stream) =>
        Send(Header(operation, guestPort, hostPort, (uint)(payload?.Length ?? 0), flags, forwarded, type: type), payload);

    /// <summary>The next packet of the device; its buffer is given anew.</summary>
    internal VsockPacket Receive(bool refill = true)
    {
        Guest.RunUntil(() => _buffers.Peek().IsUsed);
        return Take(refill);
    }

    /// <summary>What the device has sent so far.</summary>
    internal List<VsockPacket> ReceiveAll()
    {
        List<VsockPacket> packets = [];
        Guest.RunUntilIdle();
        while (_buffers.Peek().IsUsed)
        {
            packets.Add(Take(refill: true));
            Guest.RunUntilIdle();
        }
        return packets;
    }

    /// <summary>The next packet, which is of this kind.</summary>
    internal VsockPacket Expect(VsockOperation operation, uint guestPort, uint hostPort)
    {
        VsockPacket packet = Receive();
        Assert.Equal((operation, VsockProtocol.HostCid, hostPort, (ulong)Cid, guestPort), (packet.Operation, packet.Header.SourceCid,
            packet.Header.SourcePort, packet.Header.DestinationCid, packet.Header.DestinationPort));
        return packet;
    }

    /// <summary>A connection of the guest to a listening program.</summary>
    internal Socket Open(Socket listener, uint guestPort, uint hostPort, VsockType type = VsockType.Stream)
    {
        Send(VsockOperation.Request, guestPort, hostPort, type: type);
        Expect(VsockOperation.Response, guestPort, hostPort);
        Socket socket = listener.Accept();
        socket.ReceiveTimeout = 10_000;
        return socket;
    }

    public void Dispose()
    {
        Guest.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    private VsockPacket Take(bool refill)
    {
        DriverRequest request = _buffers.Dequeue();
        byte[] written = request.Written;
        Guest.Queue(ReceiveQueue).Free(request);
        VsockPacket packet = new(MemoryMarshal.Read<VsockHeader>(written), written[(int)VsockHeader.Bytes..]);
        Assert.Equal((uint)packet.Payload.Length, packet.Header.Length);
        if (!refill) return packet;
        _buffers.Enqueue(Guest.Queue(ReceiveQueue).Add(writable: [_bufferBytes]));
        Guest.Kick(ReceiveQueue);
        return packet;
    }
}
