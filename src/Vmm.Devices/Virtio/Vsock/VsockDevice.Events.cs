using Vmm.Events;

namespace Vmm.Devices;

// Events (virtio 1.2 § 5.10.6.7). There is one: the transport was reset, all connections are gone.
public sealed partial class VsockDevice
{
    private static readonly GuestFault NoEventRoom = new(GuestFaultKind.Request, "an event buffer too short for an event (§ 5.10.6.7)");

    private readonly DriverBell _reset;
    private bool _owesReset;
    private bool _isFresh;

    /// <summary>
    /// Ends every connection and reports a transport reset to the guest: for a machine that was restored, or whose peers are no more
    /// what they were. Any thread; nothing if the guest has no driver.
    /// </summary>
    public void ResetTransport() => _reset.Ring();

    /// <inheritdoc/>
    /// <remarks>
    /// Its connections ended with the process before: the guest gets a transport reset, by which its driver also looks at its context id
    /// again (virtio 1.2 § 5.10.6.7.1). Who listens in the guest listens on.
    /// </remarks>
    protected internal override void Restore(StateReader from) => _owesReset = Driver is not null;

    private void StartEvents(DriverSession driver)
    {
        _isFresh = true;
        _reset.Connect(driver);
    }

    private void StopEvents()
    {
        _reset.Disconnect();
        _owesReset = false;
    }

    private void ResetAll()
    {
        if (_connections is null) return;
        foreach (VsockConnection connection in _connections.Live.ToArray()) connection.Reset();
        SendResetLater();
    }

    private void SendResetLater()
    {
        _owesReset = true;
        ServeQueue(VsockProtocol.EventQueue);
        ServeReceiveSoon();
    }

    /// <summary>
    /// A driver whose ring does not begin at its start had another device process before this one, which took its connections with it.
    /// </summary>
    private void LookForPredecessor(VirtQueue queue)
    {
        const int PositionMask = 0x7fff;
        if (_isFresh && (queue.AvailBase & PositionMask) != 0) _owesReset = true;
        _isFresh = false;
    }

    private void ServeEvents(QueueContext context)
    {
        VirtQueue queue = context.Queue;
        if (!_owesReset || !queue.TryPop(out DescriptorChain? chain)) return;
        _owesReset = false;
        bool hasRoom = chain.Writable.TryWrite(VsockProtocol.EventTransportReset);
        queue.Push(chain, hasRoom ? (uint)sizeof(uint) : 0);
        if (!hasRoom) queue.Fault(NoEventRoom);
    }
}
