namespace Vmm.Devices;

// To the guest: connections with something for it get their turns one after the other, as far as it has given buffers.
public sealed partial class VsockDevice
{
    /// <summary>Most bytes in each direction in one turn; then the other devices have theirs.</summary>
    private const int BytesPerTurnMax = 1 << 20;

    private readonly VsockConnectionList _ready = new();
    private readonly VsockRefusals _refusals = new();
    private readonly VsockReceiveBuffers _buffers = new();

    /// <summary>A connection has something for the guest.</summary>
    internal void Schedule(VsockConnection connection) => _ready.Add(connection);

    /// <summary>Has the guest served at the end of the reactor's turn: once for all that happens in it.</summary>
    internal void ServeReceiveSoon() => _serveSoon.Ring();

    private void ServeSoon()
    {
        if (_hasGivenBack || (_transmitWaits && !_refusals.IsFull)) ServeQueue(VsockProtocol.TransmitQueue);
        ServeQueue(VsockProtocol.ReceiveQueue);
    }

    private sealed class ReceiveWorker : QueueWorker
    {
        private readonly VsockDevice _device;

        internal ReceiveWorker(VsockDevice device, QueueContext context) : base(context)
        {
            _device = device;
            context.Turn.BytesMax = BytesPerTurnMax;
            device.LookForPredecessor(context.Queue);
            Resume();
        }

        public override void Serve()
        {
            TurnBudget turn = Context.Turn;
            while (!turn.IsSpent && _device.TryServeNext(Queue, turn))
            {
            }
            if (turn.IsSpent) Context.ServeLater();
            // The guest's packets waited for the answers to go.
            if (_device._transmitWaits && !_device._refusals.IsFull) _device.ServeReceiveSoon();
        }

        public override void Resume() => _device.IsReceiving = true;

        public override void Quiesce(QuiesceReason reason)
        {
            _device.IsReceiving = false;
            _device._buffers.PutBack(Queue);
        }
    }

    /// <summary>Gives the guest one packet, or one batch of payload.</summary>
    /// <returns>False if there is nothing for it, or it has no buffer.</returns>
    private bool TryServeNext(VirtQueue queue, TurnBudget turn)
    {
        if ((_refusals.IsEmpty && _ready.First is null) || !_buffers.TryHaveOne(queue)) return false;
        if (!_refusals.IsEmpty)
        {
            _buffers.Send(queue, _refusals.Take(), 0);
            turn.Charge(VsockHeader.Bytes);
            return true;
        }
        VsockConnection connection = _ready.First!;
        _ready.Remove(connection);
        turn.Charge(VsockHeader.Bytes + connection.Serve(_buffers, queue));
        if (connection.HasForGuest) _ready.Add(connection);
        return true;
    }
}
