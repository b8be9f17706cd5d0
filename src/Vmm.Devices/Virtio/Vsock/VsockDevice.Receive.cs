namespace Vmm.Devices;

// To the guest: connections with something for it get their turns one after the other, as far as it has given buffers.
public sealed partial class VsockDevice
{
    /// <summary>Most bytes each way in one turn; then the other devices have theirs.</summary>
    private const int BytesPerTurnMax = 1 << 20;

    private readonly VsockConnectionList _ready = new();
    private readonly VsockRefusals _refusals = new();
    private readonly VsockReceiveBuffers _buffers = new();

    /// <summary>A connection has something for the guest.</summary>
    internal void Schedule(VsockConnection connection) => _ready.Add(connection);

    /// <summary>Has the guest served at the end of the reactor's turn: once for all that happens in it.</summary>
    internal void ServeReceiveSoon() => _serveSoon?.TryRing();

    private void ServeSoon()
    {
        if (_hasGivenBack || (_transmitWaits && !_refusals.IsFull)) ServeQueue(VsockProtocol.TransmitQueue);
        ServeQueue(VsockProtocol.ReceiveQueue);
    }

    private void ServeReceive(VirtQueue queue)
    {
        long budget = BytesPerTurnMax;
        while (TryServeNext(queue, ref budget))
        {
            if (budget > 0) continue;
            ContinueLater(queue);
            break;
        }
        // The guest's packets waited for the answers to go.
        if (_transmitWaits && !_refusals.IsFull) ServeReceiveSoon();
    }

    /// <summary>Gives the guest one packet, or one batch of payload.</summary>
    /// <returns>False if there is nothing for it, or it has no buffer.</returns>
    private bool TryServeNext(VirtQueue queue, ref long budget)
    {
        if ((_refusals.IsEmpty && _ready.First is null) || !_buffers.TryHaveOne(queue)) return false;
        if (!_refusals.IsEmpty)
        {
            _buffers.Send(queue, _refusals.Take(), 0);
            budget -= VsockHeader.Bytes;
            return true;
        }
        VsockConnection connection = _ready.First!;
        _ready.Remove(connection);
        budget -= VsockHeader.Bytes + connection.Serve(_buffers, queue);
        if (connection.HasForGuest) _ready.Add(connection);
        return true;
    }
}
