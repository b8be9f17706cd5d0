using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A stream or message socket between a port of the guest and a Unix socket of the host. Pooled: made once, used for one connection after
/// the other. On the device's reactor. Payload goes straight between guest memory and the socket; nothing is read that the guest has no
/// buffer and credit for, and nothing is taken beyond the credit it was given.
/// <code>
/// Free --a host program connects--> Greeting --CONNECT line--> Requested --RESPONSE--> Open
/// Free --REQUEST of the guest--> Connecting --the host's socket takes it--> Open
/// any of them --fault, time is up, both sides ended--> Dying --RST delivered--> Free
/// any of them --RST of the guest, reset of the device--> Free
/// </code>
/// </summary>
internal sealed class VsockConnection
{
    /// <summary>How long the guest may take to answer a SHUTDOWN of both directions. A Linux guest waits as long for ours.</summary>
    internal static readonly TimeSpan CloseTimeout = TimeSpan.FromSeconds(8);

    /// <summary>How long the guest may take none of the bytes that a program of the host left for it when it hung up.</summary>
    internal static readonly TimeSpan StallTimeout = TimeSpan.FromMinutes(1);

    private readonly VsockDevice _device;
    private readonly VsockSender _sender;
    private readonly VsockHostSocket _host;
    private ReactorTimer? _timer;
    private uint _guestShutdown;
    private uint _guestShutdownDone;
    private uint _sentBefore;
    private bool _hostEnded;
    private bool _hostHungUp;

    internal VsockConnection(VsockDevice device)
    {
        _device = device;
        Receiver = new VsockReceiver(device, this);
        _sender = new VsockSender(device, this);
        _host = new VsockHostSocket(device, this);
    }

    /// <summary>What comes from the guest.</summary>
    internal VsockReceiver Receiver { get; }

    internal VsockState State { get; private set; }

    internal uint GuestPort { get; private set; }

    internal uint HostPort { get; private set; }

    internal VsockType Type { get; private set; }

    // The list it is in, and its links there.
    internal VsockConnectionList? List { get; set; }
    internal VsockConnection? Previous { get; set; }
    internal VsockConnection? Next { get; set; }

    /// <summary>Bytes of credit the guest has for it: what the device may have to keep.</summary>
    internal int Granted { get; private set; }

    internal UnixSocket? Socket => _host.Socket;

    /// <summary>Which directions the host has ended.</summary>
    internal uint HostShutdown { get; private set; }

    internal bool GuestReceives => (_guestShutdown & VsockProtocol.ReceivesNoMore) == 0;

    /// <inheritdoc cref="VsockSender.HasForGuest"/>
    internal bool HasForGuest => _sender.HasForGuest;

    /// <summary>The guest asks for a connection. It is in the table already.</summary>
    internal void OpenForGuest(in VsockHeader request, int granted)
    {
        (GuestPort, HostPort, Type, Granted) = (request.SourcePort, request.DestinationPort, request.Type, granted);
        _sender.TakeCredit(request);
        State = VsockState.Connecting;
        Connect();
    }

    /// <summary>A host program connected to the device.</summary>
    internal void OpenForHost(UnixSocket socket)
    {
        (Type, State) = (VsockType.Stream, VsockState.Greeting);
        Arm(_device.Spec.ConnectTimeout);
        if (!_host.TryTake(socket)) _device.Close(this);
    }

    /// <summary>The guest accepts what the host asked for.</summary>
    internal void Accepted(in VsockHeader response)
    {
        _sender.TakeCredit(response);
        _timer?.Cancel();
        State = VsockState.Open;
        _sender.IsReadable = true;
        _device.ToGuest.Schedule(this);
        Span<byte> line = stackalloc byte[VsockGreeting.BytesMax];
        int length = VsockGreeting.WriteAnswer(HostPort, line);
        if (Socket!.SendParts(line[..length], [], out _) != Errno.None) Reset();
    }

    /// <summary>Ends the connection for both sides, at once.</summary>
    internal void Reset()
    {
        if (State is VsockState.Free or VsockState.Dying) return;
        if (State == VsockState.Greeting || (State == VsockState.Requested && _sender.IsUnannounced))
        {
            // The guest knows nothing of it.
            _device.Close(this);
            return;
        }
        LetGoOfHost();
        State = VsockState.Dying;
        _sender.SendLater(PendingPackets.Reset);
    }

    /// <summary>
    /// The guest has gone, by RST or with its driver. What it sent before an orderly SHUTDOWN still reaches the host: Linux waits 8 s for
    /// our answer to its SHUTDOWN, then it sends RST.
    /// </summary>
    internal void GuestLeft()
    {
        Receiver.EndGathering();
        if (State == VsockState.Open && (_guestShutdown & VsockProtocol.SendsNoMore) != 0 && Receiver.HasPending) LeaveRemainder();
        _device.Close(this);
    }

    /// <summary>Forgets everything; the pool's business.</summary>
    internal void Clear()
    {
        LetGoOfHost();
        State = VsockState.Free;
        (GuestPort, HostPort, Granted) = (0, 0, 0);
        (_guestShutdown, _guestShutdownDone, HostShutdown, _sentBefore) = (0, 0, 0, 0);
        _hostEnded = _hostHungUp = false;
        _sender.Clear();
        Receiver.Clear();
    }

    /// <inheritdoc cref="VsockSender.TakeCredit"/>
    internal void TakeCredit(in VsockHeader header) => _sender.TakeCredit(header);

    /// <summary>The guest asks for its credit, or much of it is free again.</summary>
    internal void SendCredit() => _sender.SendLater(PendingPackets.CreditUpdate);

    /// <inheritdoc cref="VsockSender.Serve"/>
    internal uint Serve(VsockReceiveBuffers buffers, VirtQueue queue) => _sender.Serve(buffers, queue);

    /// <summary>Takes a packet's payload.</summary>
    /// <returns>Whether the chain is kept until the host side has taken it.</returns>
    internal bool TakeData(in VsockHeader header, ChainReader payload, DescriptorChain chain)
    {
        if (State != VsockState.Open || Socket is null || (_guestShutdown & VsockProtocol.SendsNoMore) != 0)
        {
            Reset();
            return false;
        }
        // What was in flight when the guest got the reset is dropped.
        return (HostShutdown & VsockProtocol.ReceivesNoMore) == 0 && Receiver.Take(header, payload, chain);
    }

    /// <summary>The guest ends one direction or both.</summary>
    internal void TakeShutdown(uint flags)
    {
        _guestShutdown |= flags & VsockProtocol.BothWays;
        if (State == VsockState.Open) FinishShutdown();
        else Reset();
    }

    /// <summary>Asks for an event when the host's socket has room.</summary>
    internal void AwaitRoom() => _host.AwaitRoom();

    /// <summary>Does what the guest's SHUTDOWN asks for, once everything before it went out.</summary>
    internal void FinishShutdown()
    {
        uint todo = _guestShutdown & ~_guestShutdownDone;
        if (todo == 0 || Receiver.HasPending) return;
        _guestShutdownDone = _guestShutdown;
        if (_guestShutdown == VsockProtocol.BothWays)
        {
            // A clean end is answered by RST (§ 5.10.6.5).
            Reset();
            return;
        }
        Socket?.Shutdown(sending: (todo & VsockProtocol.SendsNoMore) != 0);
    }

    /// <summary>The host sends no more; if it does not receive any more either, its socket is done with.</summary>
    internal void HostEnded()
    {
        _hostEnded = true;
        _sender.IsReadable = false;
        HostShutdown |= VsockProtocol.SendsNoMore;
        if (Socket!.Ends().HungUp) HostLeft();
        _sender.SendLater(PendingPackets.Shutdown);
    }

    /// <summary>The host reads no more: what waits for it is dropped. What it says itself still goes to the guest.</summary>
    internal void HostReceivesNoMore()
    {
        HostShutdown |= VsockProtocol.ReceivesNoMore;
        Receiver.Drop();
        _sender.SendLater(PendingPackets.Shutdown);
        FinishShutdown();
    }

    private void HostLeft()
    {
        HostShutdown = VsockProtocol.BothWays;
        Receiver.Drop();
        CloseSocket();
        if (_guestShutdown == VsockProtocol.BothWays)
        {
            Reset();
            return;
        }
        _sender.SendLater(PendingPackets.Shutdown);
        // A guest that does not answer must not keep the place of a connection that has no host any more.
        Arm(CloseTimeout);
    }

    /// <summary>
    /// The program of the host has closed its socket. Its last bytes may still wait in the socket for credit or buffers of the guest, and
    /// they have as long as the guest takes some of them.
    /// </summary>
    private void HostHungUp()
    {
        if (_hostHungUp || State != VsockState.Open) return;
        _hostHungUp = true;
        _sentBefore = _sender.Sent;
        Arm(StallTimeout);
    }

    /// <summary>The time of a connection whose host has hung up is over.</summary>
    /// <returns>Whether it gets as much again: the guest is paused, or it took bytes meanwhile.</returns>
    private bool MayWaitOn()
    {
        if (_device.ToGuest.IsRunning && (Socket is null || _sender.Sent == _sentBefore)) return false;
        _sentBefore = _sender.Sent;
        Arm(Socket is null ? CloseTimeout : StallTimeout);
        return true;
    }

    /// <summary>The reactor says that something happened to the socket.</summary>
    internal void HostChanged(Readiness ready)
    {
        if (State == VsockState.Greeting)
        {
            Greet();
        }
        else
        {
            if (!_hostEnded && (ready.IsReadable || ready.IsReadHangUp || ready.IsHangUp || ready.IsError)) _sender.IsReadable = true;
            if (Receiver.IsBlocked && (ready.IsWritable || ready.IsHangUp || ready.IsError)) Receiver.Flush();
            if (_hostEnded && ready.IsHangUp && Socket is not null) HostLeft();
            else if (ready.IsHangUp && Socket is not null) HostHungUp();
            if (HasForGuest) _device.ToGuest.Schedule(this);
        }
        _device.ServeReceiveSoon();
    }

    /// <summary>Reads the line that says which port of the guest is meant. What follows it belongs to the guest.</summary>
    private void Greet()
    {
        Span<byte> line = stackalloc byte[VsockGreeting.BytesMax];
        Errno errno = Socket!.Peek(line, out uint received);
        if (errno == Errno.Again) return;
        line = line[..(int)received];
        int end = line.IndexOf((byte)'\n');
        if (errno == Errno.None && end < 0 && received is > 0 and < VsockGreeting.BytesMax && !Socket.Ends().PeerEnded) return;
        if (end < 0 || !VsockGreeting.TryParse(line[..end], out uint port))
        {
            _device.Close(this);
            return;
        }
        Socket.Receive(line[..(end + 1)], out _);
        Granted = _device.Register(this, port, out uint hostPort);
        (GuestPort, HostPort, State) = (port, hostPort, VsockState.Requested);
        Arm(_device.Spec.ConnectTimeout);
        _sender.SendLater(PendingPackets.Request);
    }

    private void LetGoOfHost()
    {
        _timer?.Cancel();
        List?.Remove(this);
        Receiver.Drop();
        CloseSocket();
    }

    private void CloseSocket()
    {
        _host.Close();
        _sender.IsReadable = false;
    }

    /// <summary>
    /// Connects to the host's socket for the port the guest named; while its backlog is full the device has it try again.
    /// </summary>
    internal void Connect()
    {
        string path = _device.PathOf(HostPort);
        UnixSocket? socket = UnixEndpoint.TryConnect(path, Type == VsockType.SeqPacket, out Errno errno);
        if (socket is not null && socket.IsOfStranger(path, out _))
        {
            socket.Dispose();
            socket = null;
            errno = Errno.AccessDenied;
        }
        if (socket is not null)
        {
            if (Type == VsockType.SeqPacket) socket.AskForSendRoom(Granted);
            _timer?.Cancel();
            State = VsockState.Open;
            _sender.IsReadable = true;
            if (_host.TryTake(socket)) _sender.SendLater(PendingPackets.Response);
            else Reset();
            return;
        }
        if (errno == Errno.Again)
        {
            if (_timer is not { IsArmed: true }) Arm(_device.Spec.ConnectTimeout);
            _device.AwaitBacklog(this);
            return;
        }
        _device.ReportConnect(errno, HostPort);
        Reset();
    }

    private void LeaveRemainder()
    {
        Receiver.GiveChainsBack();
        UnixSocket? socket = null;
        try
        {
            socket = Socket!.DuplicateSocket();
            Receiver.Leave(socket);
        }
        catch (KernelException refused)
        {
            socket?.Dispose();
            _device.ReportHost(refused.Errno, "cannot keep what the guest sent for a program that has not read it");
        }
    }

    private void Arm(TimeSpan due)
    {
        _timer ??= _device.Timers.Create((_, _) => TimeIsUp(), _device.Name);
        _timer.Arm(due);
    }

    private void TimeIsUp()
    {
        if (State == VsockState.Open && MayWaitOn()) return;
        Reset();
        _device.ServeReceiveSoon();
    }
}
