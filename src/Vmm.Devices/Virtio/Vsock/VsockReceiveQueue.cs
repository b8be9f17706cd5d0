namespace Vmm.Devices;

/// <summary>
/// To the guest: connections with something for it get their turns one after the other, as far as it has given buffers. Connections wait
/// here for a queue that does not run too. On the device's reactor.
/// </summary>
internal sealed class VsockReceiveQueue(VsockDevice device)
{
    private readonly VsockConnectionList _ready = new();
    private readonly VsockReceiveBuffers _buffers = new();

    /// <summary>Answers to packets of no connection; they go first.</summary>
    internal VsockRefusals Refusals { get; } = new();

    /// <summary>Whether the guest can be given anything: a machine that is paused can't.</summary>
    internal bool IsRunning { get; private set; }

    /// <summary>Whether something waits for the guest.</summary>
    internal bool HasPending => !Refusals.IsEmpty || _ready.First is not null;

    /// <summary>A connection has something for the guest.</summary>
    internal void Schedule(VsockConnection connection) => _ready.Add(connection);

    internal QueueWorker MakeWorker(QueueContext context) => new Worker(this, context);

    /// <summary>Gives the guest one packet, or one batch of payload.</summary>
    /// <returns>False if there is nothing for it, or it has no buffer.</returns>
    private bool TryServeNext(VirtQueue queue, TurnBudget turn)
    {
        if (!HasPending || !_buffers.TryHaveOne(queue)) return false;
        if (!Refusals.IsEmpty)
        {
            _buffers.Send(queue, Refusals.Take(), 0);
            turn.Charge(VsockHeader.Bytes);
            return true;
        }
        VsockConnection connection = _ready.First!;
        _ready.Remove(connection);
        turn.Charge(VsockHeader.Bytes + connection.Serve(_buffers, queue));
        if (connection.HasForGuest) _ready.Add(connection);
        return true;
    }

    private void Serve(QueueContext context)
    {
        TurnBudget turn = context.Turn;
        while (!turn.IsSpent && TryServeNext(context.Queue, turn))
        {
        }
        if (turn.IsSpent) context.ServeLater();
        // The guest's packets waited for the answers to go.
        if (device.FromGuest.HasRoomAgain) device.ServeReceiveSoon();
    }

    private sealed class Worker : QueueWorker
    {
        private readonly VsockReceiveQueue _queue;

        internal Worker(VsockReceiveQueue queue, QueueContext context) : base(context)
        {
            _queue = queue;
            context.Turn.BytesMax = VsockDevice.BytesPerTurnMax;
            Resume();
        }

        public override void Serve() => _queue.Serve(Context);

        public override void Resume() => _queue.IsRunning = true;

        public override void Quiesce(QuiesceReason reason)
        {
            _queue.IsRunning = false;
            _queue._buffers.PutBack(Queue);
        }
    }
}
