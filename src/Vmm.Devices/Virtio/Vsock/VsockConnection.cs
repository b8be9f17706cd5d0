using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>How far a connection is.</summary>
internal enum VsockState
{
    /// <summary>In the pool.</summary>
    Free,
    /// <summary>A host program connected, and has not said to which port.</summary>
    Greeting,
    /// <summary>The guest asked for it; the host's socket has no place in its backlog yet.</summary>
    Connecting,
    /// <summary>The host asked for it; the guest has not answered.</summary>
    Requested,
    /// <summary>Bytes go in both directions, until one side after the other ends.</summary>
    Open,
    /// <summary>All that is left is the RST that the guest has no buffer for yet.</summary>
    Dying,
}

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
internal sealed partial class VsockConnection(VsockDevice device)
{
    private ReactorTimer? _timer;
    private Watch? _watch;

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

    private UnixSocket? Socket => _watch?.Fd;

    /// <summary>The guest asks for a connection. It is in the table already.</summary>
    internal void OpenForGuest(in VsockHeader request, int granted)
    {
        (GuestPort, HostPort, Type, Granted) = (request.SourcePort, request.DestinationPort, request.Type, granted);
        TakeCredit(request);
        State = VsockState.Connecting;
        Connect();
    }

    /// <summary>A host program connected to the device.</summary>
    internal void OpenForHost(UnixSocket socket)
    {
        (Type, State) = (VsockType.Stream, VsockState.Greeting);
        Arm(device.Spec.ConnectTimeout);
        if (!TryWatch(socket)) device.Close(this);
    }

    /// <summary>The guest accepts what the host asked for.</summary>
    internal void Accepted(in VsockHeader response)
    {
        TakeCredit(response);
        _timer?.Cancel();
        State = VsockState.Open;
        _hostReadable = true;
        device.Schedule(this);
        Answer();
    }

    /// <summary>Ends the connection for both sides, at once.</summary>
    internal void Reset()
    {
        if (State is VsockState.Free or VsockState.Dying) return;
        if (State == VsockState.Greeting || (State == VsockState.Requested && (_pending & PendingPackets.Request) != 0))
        {
            // The guest knows nothing of it.
            device.Close(this);
            return;
        }
        LetGoOfHost();
        State = VsockState.Dying;
        SendLater(PendingPackets.Reset);
    }

    /// <summary>
    /// The guest has gone, by RST or with its driver. What it sent before an orderly SHUTDOWN still reaches the host: Linux waits 8 s for
    /// our answer to its SHUTDOWN, then it sends RST.
    /// </summary>
    internal void GuestLeft()
    {
        EndGathering();
        if (State == VsockState.Open && (_guestShutdown & VsockProtocol.SendsNoMore) != 0 && HasPending) LeaveRemainder();
        device.Close(this);
    }

    /// <summary>Forgets everything; the pool's business.</summary>
    internal void Clear()
    {
        LetGoOfHost();
        State = VsockState.Free;
        (GuestPort, HostPort, Granted) = (0, 0, 0);
        ClearToGuest();
        ClearFromGuest();
    }

    private void LetGoOfHost()
    {
        _timer?.Cancel();
        List?.Remove(this);
        DropPending();
        CloseSocket();
    }

    private void CloseSocket()
    {
        if (_watch is { } watch) device.Reactor.Remove(watch);
        _watch = null;
        _hostReadable = false;
    }

    /// <summary>
    /// Connects to the host's socket for the port the guest named; while its backlog is full the device has it try again.
    /// </summary>
    internal void Connect()
    {
        string path = device.PathOf(HostPort);
        UnixSocket? socket = UnixSocket.TryConnect(path, Type == VsockType.SeqPacket, out Errno errno);
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
            _hostReadable = true;
            if (TryWatch(socket)) SendLater(PendingPackets.Response);
            else Reset();
            return;
        }
        if (errno == Errno.Again)
        {
            if (_timer is not { IsArmed: true }) Arm(device.Spec.ConnectTimeout);
            device.AwaitBacklog(this);
            return;
        }
        device.ReportConnect(errno, HostPort);
        Reset();
    }

    private void LeaveRemainder()
    {
        GiveChainsBack();
        UnixSocket? socket = null;
        try
        {
            socket = Socket!.DuplicateSocket();
            // A message that the guest did not complete is none.
            byte[] bytes = _backlog.ToArray(_backlog.Count - _assembled);
            device.Remainders.Add(device.Reactor, socket, bytes, Type == VsockType.Stream ? null : [.. _messages]);
        }
        catch (KernelException refused)
        {
            socket?.Dispose();
            device.ReportHost(refused.Errno, "cannot keep what the guest sent for a program that has not read it");
        }
    }

    private bool TryWatch(UnixSocket socket)
    {
        Watch watch = new(this, socket);
        try
        {
            device.Reactor.Add(watch);
            _watch = watch;
            return true;
        }
        catch (KernelException refused)
        {
            socket.Dispose();
            device.ReportHost(refused.Errno, "cannot watch a connection");
            return false;
        }
    }

    private void Arm(TimeSpan due)
    {
        _timer ??= device.Timers.Create((_, _) => TimeIsUp(), device.Name);
        _timer.Arm(due);
    }

    private void TimeIsUp()
    {
        if (State == VsockState.Open && MayWaitOn()) return;
        Reset();
        device.ServeReceiveSoon();
    }

    /// <summary>
    /// The host's socket. Edge-triggered, so that neither a guest without buffers nor a host that does not read makes the reactor spin;
    /// room to write is asked for only while something waits for it.
    /// </summary>
    private sealed class Watch(VsockConnection connection, UnixSocket socket) : Subscription<UnixSocket>(socket, Idle)
    {
        private static readonly Interest Idle = Interest.Readable.AndReadHangUp.EdgeTriggered;

        public override string Name => "a vsock connection";

        /// <summary>Asks for an event when there is room; it may be there already.</summary>
        internal void AwaitRoom(IReactor reactor)
        {
            if (!Interest.IsWritable) reactor.Modify(this, Idle.AndWritable);
        }

        protected override void Dispatch(Readiness ready, IReactor reactor)
        {
            // Room that was not waited for: the peer keeps up, and each read of its need not wake us.
            if (ready.IsWritable && !connection.HasPending && Interest.IsWritable) reactor.Modify(this, Idle);
            connection.HostChanged(ready);
        }
    }
}
