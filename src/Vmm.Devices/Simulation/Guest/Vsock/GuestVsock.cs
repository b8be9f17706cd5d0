using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Vmm.Devices.Simulation;

/// <summary>The guest's driver of a socket device (virtio 1.2 § 5.10), and its sockets: streams to and from the host. On CPU 0.</summary>
internal sealed class GuestVsock(GuestTransport transport, string name) : GuestDriver(transport, name)
{
    private const ushort ReceiveBuffers = 32;
    private const uint ReceiveBytes = 16 * 1024;
    private const uint FirstLocalPort = 1 << 16;

    private readonly Dictionary<(uint Local, uint Host), GuestSocket> _sockets = [];
    private readonly Queue<GuestSocket> _accepted = new();
    private GuestReceiveQueue? _receive;
    private GuestTransmitQueue? _transmit;
    private uint _cid;
    private uint _nextLocalPort = FirstLocalPort;
    private uint? _listening;
    private long _bytesIn;
    private long _bytesOut;

    internal override string Description => $"sockets, context id {_cid}";

    internal override string Statistics =>
        $"{_sockets.Count} {(_sockets.Count == 1 ? "connection" : "connections")}, {_bytesIn} bytes in, {_bytesOut} bytes out, "
        + $"{(_receive?.Kicks ?? 0) + (_transmit?.Kicks ?? 0)} kicks, {Interrupts} interrupts";

    internal override async ValueTask<string?> Start(KernelCpu kernel)
    {
        if (!await Transport.Negotiate(VsockProtocol.FeatureStream)) return "the device refuses the features";
        _cid = BinaryPrimitives.ReadUInt32LittleEndian(await Transport.ReadConfig(VsockProtocol.ConfigLength));
        _receive = await GuestReceiveQueue.Start(kernel, this, VsockProtocol.ReceiveQueue, ReceiveBuffers, ReceiveBytes);
        _transmit = await GuestTransmitQueue.Start(kernel, this, VsockProtocol.TransmitQueue);
        if (_receive is null || _transmit is null) return "no queue, or not enough guest memory for it";
        await Transport.SetStatus(DeviceStatus.DriverOk);
        await Work(kernel);
        return null;
    }

    internal override async ValueTask Work(KernelCpu kernel)
    {
        HasWork = false;
        GuestReceiveQueue queue = _receive!;
        do
        {
            while (queue.TryTake(out GuestBuffer received))
            {
                VsockHeader answer = Take(kernel, received);
                queue.GiveBack(received.Address);
                if (answer.Operation != VsockOperation.Invalid) await Transmit(kernel, answer, default);
            }
            await queue.Kick(kernel);
        }
        while (!queue.PrepareToWait());
    }

    /// <summary>Connects to a port of the host.</summary>
    /// <returns>Null if nothing listens there, or the wait was aborted.</returns>
    internal async ValueTask<GuestSocket?> Connect(KernelCpu kernel, uint hostPort)
    {
        GuestSocket socket = new(_nextLocalPort++, hostPort);
        _sockets.Add((socket.LocalPort, hostPort), socket);
        await Say(kernel, socket, VsockOperation.Request);
        if (await WaitUntil(kernel, () => socket.IsOpen || socket.IsReset) && socket.IsOpen) return socket;
        await Close(kernel, socket);
        return null;
    }

    /// <summary>Takes connections of the host to a port from now on; null takes none any more.</summary>
    internal void Listen(uint? port) => _listening = port;

    /// <summary>The next connection that came.</summary>
    internal GuestSocket? Accept() => _accepted.TryDequeue(out GuestSocket? socket) ? socket : null;

    /// <summary>Whether there is a connection that was not accepted yet.</summary>
    internal bool HasAccepted => _accepted.Count > 0;

    /// <summary>Reads what came, and sends a credit update when that made much room.</summary>
    internal async ValueTask<int> Read(KernelCpu kernel, GuestSocket socket, Memory<byte> destination)
    {
        int length = socket.Read(destination.Span);
        if (socket.ShouldReportCredit && !socket.IsReset) await Say(kernel, socket, VsockOperation.CreditUpdate);
        return length;
    }

    /// <summary>Sends bytes, as the host has room for them.</summary>
    /// <returns>Null if all are in flight; else a sentence.</returns>
    internal async ValueTask<string?> Send(KernelCpu kernel, GuestSocket socket, ReadOnlyMemory<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            if (!await WaitUntil(kernel, () => socket.Credit > 0 || socket.IsClosedForSending))
                return IsBroken ? "the device is broken until it is reset" : "interrupted";
            if (socket.IsClosedForSending) return "the host takes no more";
            int length = Math.Min(Math.Min(bytes.Length, socket.Credit), GuestTransmitQueue.PayloadBytesMax);
            if (!await Transmit(kernel, socket.Header(_cid, VsockOperation.Data, length, 0), bytes[..length]))
                return "interrupted: the host did not take all of it yet";
            _bytesOut += length;
            bytes = bytes[length..];
        }
        return null;
    }

    /// <summary>Says that nothing more will be sent.</summary>
    internal ValueTask<bool> EndSending(KernelCpu kernel, GuestSocket socket) =>
        Say(kernel, socket, VsockOperation.Shutdown, VsockProtocol.SendsNoMore);

    /// <summary>Ends both directions, and waits until the host agrees.</summary>
    internal async ValueTask Close(KernelCpu kernel, GuestSocket socket)
    {
        if (socket.IsOpen && !socket.IsReset)
        {
            await Say(kernel, socket, VsockOperation.Shutdown, VsockProtocol.BothWays);
            await WaitUntil(kernel, () => socket.IsReset);
        }
        if (!socket.IsReset) await Say(kernel, socket, VsockOperation.Reset);
        _sockets.Remove((socket.LocalPort, socket.HostPort));
    }

    protected override void OnUsedBuffers(KernelCpu kernel) => HasWork = true;

    private ValueTask<bool> Say(KernelCpu kernel, GuestSocket socket, VsockOperation operation, uint flags = 0) =>
        Transmit(kernel, socket.Header(_cid, operation, 0, flags), default);

    private ValueTask<bool> Transmit(KernelCpu kernel, VsockHeader header, ReadOnlyMemory<byte> payload) =>
        _transmit!.Send(kernel, header, payload, () => kernel.Kernel.Console.AbortRequested);

    /// <summary>Takes a packet.</summary>
    /// <returns>What is to be answered; <see cref="VsockOperation.Invalid"/> for nothing.</returns>
    private VsockHeader Take(KernelCpu kernel, GuestBuffer received)
    {
        if (!kernel.Cpu.Memory.TryGetSpan(received.Address, received.Length, out Span<byte> packet) || packet.Length < VsockHeader.Bytes)
            return default;
        VsockHeader header = MemoryMarshal.Read<VsockHeader>(packet);
        ReadOnlySpan<byte> payload = packet[(int)VsockHeader.Bytes..];
        if (header.SourceCid != VsockProtocol.HostCid || header.DestinationCid != _cid) return default;
        if (!_sockets.TryGetValue((header.DestinationPort, header.SourcePort), out GuestSocket? socket))
        {
            if (header.Operation == VsockOperation.Request && header.DestinationPort == _listening) return Accept(header);
            GuestSocket absent = new(header.DestinationPort, header.SourcePort);
            return header.Operation == VsockOperation.Reset ? default : absent.Header(_cid, VsockOperation.Reset, 0, 0);
        }
        socket.TakeCredit(header);
        switch (header.Operation)
        {
            case VsockOperation.Response:
                socket.IsOpen = true;
                return default;
            case VsockOperation.Data when header.Length == payload.Length && socket.TryTake(payload):
                _bytesIn += payload.Length;
                return default;
            case VsockOperation.CreditUpdate:
                return default;
            case VsockOperation.CreditRequest:
                return socket.Header(_cid, VsockOperation.CreditUpdate, 0, 0);
            case VsockOperation.Shutdown:
                socket.HostShutdown |= header.Flags;
                return default;
            case VsockOperation.Reset:
                socket.IsReset = true;
                return default;
            default:
                socket.IsReset = true;
                return socket.Header(_cid, VsockOperation.Reset, 0, 0);
        }
    }

    private VsockHeader Accept(in VsockHeader request)
    {
        GuestSocket socket = new(request.DestinationPort, request.SourcePort) { IsOpen = true };
        socket.TakeCredit(request);
        _sockets.Add((socket.LocalPort, socket.HostPort), socket);
        _accepted.Enqueue(socket);
        return socket.Header(_cid, VsockOperation.Response, 0, 0);
    }
}
