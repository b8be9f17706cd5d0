namespace Vmm.Devices;

/// <summary>
/// From the guest: one packet a chain, a header and what it announces. Some chains are kept for hosts that do not read, until they do or
/// the queue stops. On the device's reactor.
/// </summary>
internal sealed class VsockTransmitQueue(VsockDevice device)
{
    /// <summary>One part in so many of the guest's queue may be kept for hosts that do not read; the others have the rest.</summary>
    private const int KeptChainsShare = 4;

    internal static readonly GuestFault Overrun =
        new(GuestFaultKind.Request, "a vsock packet beyond the credit of its connection (§ 5.10.6.3)");
    private static readonly GuestFault NoHeader = new(GuestFaultKind.Request, "a vsock packet shorter than its header (§ 5.10.6)");
    private static readonly GuestFault LyingLength =
        new(GuestFaultKind.Request, "a vsock packet that announces more bytes than it has (§ 5.10.6)");
    private static readonly GuestFault ForgedSource =
        new(GuestFaultKind.Request, "a vsock packet from a context id that is not the guest's (§ 5.10.6.2)");

    private readonly List<VsockConnection> _gathering = [];
    private int _keptChains;
    private int _keptChainsMax;
    private bool _hasGivenBack;
    private bool _waits;

    /// <summary>Whether packets waited for answers to the guest to go, and these have gone.</summary>
    internal bool HasRoomAgain => _waits && !device.ToGuest.Refusals.IsFull;

    /// <summary>Whether the queue is to be served although the guest did not kick it.</summary>
    internal bool WantsTurn => _hasGivenBack || HasRoomAgain;

    internal QueueWorker MakeWorker(QueueContext context) => new Worker(this, context);

    /// <summary>Whether one more chain may be kept for a host that does not read.</summary>
    internal bool MayKeepChain()
    {
        if (_keptChains >= _keptChainsMax) return false;
        _keptChains++;
        return true;
    }

    /// <summary>A connection has small packets that go out when the guest's queue was looked through.</summary>
    internal void Gather(VsockConnection connection) => _gathering.Add(connection);

    /// <summary>A chain that was kept is done with.</summary>
    internal void GiveChainBack(DescriptorChain chain)
    {
        _keptChains--;
        _hasGivenBack = true;
        chain.Queue.Push(chain, 0);
        device.ServeReceiveSoon();
    }

    private void Serve(QueueContext context)
    {
        VirtQueue queue = context.Queue;
        VsockRefusals refusals = device.ToGuest.Refusals;
        _hasGivenBack = false;
        // No answer is dropped: while there is no room for one the guest's packets wait.
        while (!(_waits = refusals.IsFull) && queue.TryPop(out DescriptorChain? chain))
        {
            context.Turn.Charge((long)chain.ReadableLength);
            if (!Take(queue, chain)) queue.Push(chain, 0);
        }
        foreach (VsockConnection connection in _gathering) connection.Receiver.EndGathering();
        _gathering.Clear();
        if (device.ToGuest.HasPending) device.ServeReceiveSoon();
    }

    /// <summary>Takes one packet.</summary>
    /// <returns>Whether its chain is kept.</returns>
    private bool Take(VirtQueue queue, DescriptorChain chain)
    {
        ChainReader reader = chain.Readable;
        if (!reader.TryRead(out VsockHeader header))
        {
            queue.Fault(NoHeader);
            return false;
        }
        if (header.SourceCid != device.GuestCid)
        {
            // The pretended sender must not be answered, and nothing can be said of the guest's own connections.
            device.CountFault(ForgedSource);
            return false;
        }
        if (header.DestinationCid == VsockProtocol.HostCid
            && device.Table.Find(header.SourcePort, header.DestinationPort) is { } connection)
        {
            if (header.Type == connection.Type) return Take(connection, header, reader, chain);
            connection.Reset();
            return false;
        }
        if (header.Operation == VsockOperation.Request && CanOpen(header)) Open(header);
        else if (header.Operation != VsockOperation.Reset) device.ToGuest.Refusals.Add(header);
        return false;
    }

    /// <summary>Takes a packet of a connection.</summary>
    /// <returns>Whether its chain is kept.</returns>
    private bool Take(VsockConnection connection, in VsockHeader header, ChainReader payload, DescriptorChain chain)
    {
        if (connection.State == VsockState.Dying)
        {
            // An RST to it is pending. Its own RST makes that needless.
            if (header.Operation == VsockOperation.Reset) connection.GuestLeft();
            return false;
        }
        connection.TakeCredit(header);
        if (connection.Receiver.IsGathering && (header.Operation != VsockOperation.Data || !VsockReceiver.IsSmall(header)))
            connection.Receiver.EndGathering();
        switch (header.Operation)
        {
            case VsockOperation.Data when header.Length <= payload.Remaining:
                return connection.TakeData(header, payload, chain);
            case VsockOperation.Data:
                device.CountFault(LyingLength);
                connection.Reset();
                return false;
            case VsockOperation.CreditUpdate:
                return false;
            case VsockOperation.CreditRequest:
                connection.SendCredit();
                return false;
            case VsockOperation.Shutdown:
                connection.TakeShutdown(header.Flags);
                return false;
            case VsockOperation.Response when connection.State == VsockState.Requested:
                connection.Accepted(header);
                return false;
            case VsockOperation.Reset:
                connection.GuestLeft();
                return false;
            default:
                // A second REQUEST, a RESPONSE to nothing, or an operation that does not exist.
                connection.Reset();
                return false;
        }
    }

    private void GiveAllBack()
    {
        foreach (VsockConnection connection in device.Table.Live) connection.Receiver.GiveChainsBack();
    }

    private bool CanOpen(in VsockHeader header) => header.DestinationCid == VsockProtocol.HostCid
        && (header.Type == VsockType.Stream
            || (header.Type == VsockType.SeqPacket && device.DriverTakesMessages));

    private void Open(in VsockHeader request)
    {
        VsockConnections table = device.Table;
        if (table.Rent() is { } connection)
            connection.OpenForGuest(request, table.Register(connection, request.SourcePort, request.DestinationPort));
        else
            device.ToGuest.Refusals.Add(request);
    }

    private sealed class Worker : QueueWorker
    {
        private readonly VsockTransmitQueue _queue;

        internal Worker(VsockTransmitQueue queue, QueueContext context) : base(context)
        {
            _queue = queue;
            queue._keptChainsMax = context.Queue.Size / KeptChainsShare;
            context.Turn.BytesMax = VsockDevice.BytesPerTurnMax;
        }

        public override void Serve() => _queue.Serve(Context);

        // What connections keep moves to their backlogs, so that nothing is lost.
        public override void Quiesce(QuiesceReason reason) => _queue.GiveAllBack();
    }
}
