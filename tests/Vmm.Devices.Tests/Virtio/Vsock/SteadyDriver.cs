using System.Net.Sockets;
using System.Runtime.InteropServices;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>A driver that sends one packet and gets it back, again and again, and allocates nothing itself.</summary>
internal sealed class SteadyDriver
{
    private const int PayloadBytes = 4000;
    private const int Header = (int)VsockHeader.Bytes;

    private readonly VsockGuest _guest;
    private readonly DriverQueue _receive;
    private readonly DriverQueue _transmit;
    private readonly GuestBuffer[] _packet;
    private readonly GuestBuffer[] _room;
    private readonly uint _guestPort;
    private readonly uint _hostPort;
    private uint _forwarded;

    internal SteadyDriver(VsockGuest guest, uint guestPort, uint hostPort)
    {
        (_guest, _guestPort, _hostPort) = (guest, guestPort, hostPort);
        _receive = guest.Guest.Queue(0).Ring;
        _transmit = guest.Guest.Queue(1).Ring;
        _packet = [guest.Guest.Queue(1).Place(new byte[Header + PayloadBytes])];
        _room = [guest.Guest.Queue(0).Place(new byte[Header + PayloadBytes])];
    }

    /// <summary>A packet to the host and back.</summary>
    internal void Echo(Socket host, byte[] buffer)
    {
        WriteHeader(VsockOperation.Data, PayloadBytes);
        Put(_transmit, _packet, [], 1);
        Step(_transmit);
        int got = 0;
        while (got < PayloadBytes) got += host.Receive(buffer, got, PayloadBytes - got, SocketFlags.None);
        for (int sent = 0; sent < PayloadBytes;) sent += host.Send(buffer, sent, PayloadBytes - sent, SocketFlags.None);
        uint back = 0;
        while (back < PayloadBytes)
        {
            Put(_receive, [], _room, 0);
            back += Step(_receive);
        }
        _forwarded += PayloadBytes;
    }

    private void Put(DriverQueue ring, GuestBuffer[] readable, GuestBuffer[] writable, int queue)
    {
        if (!ring.TryAdd(readable, writable, out _)) throw new InvalidOperationException("the ring is full");
        ring.Publish();
        _guest.Guest.Driver.Kick(queue);
    }

    /// <summary>Runs the device until it has used a chain.</summary>
    /// <returns>Bytes of payload in it.</returns>
    private uint Step(DriverQueue ring)
    {
        UsedChain used;
        while (!ring.TryCollect(out used)) _guest.Guest.Reactor.RunOnce(TimeSpan.FromMilliseconds(20));
        if (_guest.Guest.IsInterrupted) _guest.Guest.Driver.TakeInterrupts();
        return used.Written < Header ? 0 : used.Written - Header;
    }

    private void WriteHeader(VsockOperation operation, uint length)
    {
        VsockHeader header = VsockGuest.Header(operation, _guestPort, _hostPort, length, forwarded: _forwarded);
        _guest.Guest.Memory.TryWrite(_packet[0].Address, MemoryMarshal.AsBytes(new ReadOnlySpan<VsockHeader>(in header)));
    }
}
