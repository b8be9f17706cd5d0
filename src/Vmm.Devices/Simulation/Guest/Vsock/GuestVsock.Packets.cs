using System.Runtime.InteropServices;

namespace Vmm.Devices.Simulation;

/// <content>Packets of the device.</content>
internal sealed partial class GuestVsock
{
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
