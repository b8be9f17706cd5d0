namespace Vmm.Devices;

/// <summary>Events (virtio 1.2 § 5.10.6.7). There is one: the transport was reset, all connections are gone.</summary>
internal sealed class VsockEventQueue(VsockDevice device)
{
    private static readonly GuestFault NoEventRoom = new(GuestFaultKind.Request, "an event buffer too short for an event (§ 5.10.6.7)");

    private bool _isFresh;

    /// <summary>Whether the guest is to get the event as soon as it has a buffer for it.</summary>
    internal bool IsResetPending { get; set; }

    /// <summary>A driver has come.</summary>
    internal void Start() => _isFresh = true;

    /// <summary>
    /// A driver whose ring does not begin at its start had another device process before this one, which took its connections with it.
    /// </summary>
    internal void LookForPredecessor(VirtQueue receiveQueue)
    {
        const int PositionMask = 0x7fff;
        if (_isFresh && (receiveQueue.AvailBase & PositionMask) != 0) IsResetPending = true;
        _isFresh = false;
    }

    internal void SendReset()
    {
        IsResetPending = true;
        device.ServeQueue(VsockProtocol.EventQueue);
        device.ServeReceiveSoon();
    }

    internal void Serve(QueueContext context)
    {
        VirtQueue queue = context.Queue;
        if (!IsResetPending || !queue.TryPop(out DescriptorChain? chain)) return;
        IsResetPending = false;
        bool hasRoom = chain.Writable.TryWrite(VsockProtocol.EventTransportReset);
        queue.Push(chain, hasRoom ? (uint)sizeof(uint) : 0);
        if (!hasRoom) queue.Fault(NoEventRoom);
    }
}
