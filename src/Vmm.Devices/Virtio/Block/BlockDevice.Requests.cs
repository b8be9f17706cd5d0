using Vmm.Events;

namespace Vmm.Devices;

public sealed partial class BlockDevice
{
    /// <summary>
    /// Most bytes that the requests begun in one turn move, but for the last of them; then the other devices have theirs.
    /// </summary>
    private const long BytesPerTurnMax = 16 << 20;

    /// <summary>
    /// Most requests begun in one turn: the driver goes on with the first of a deep queue while the rest is served. All of 32 in one turn
    /// had driver and device wait for each other: 12 at a time are 1.7 times as many.
    /// </summary>
    private const int RequestsPerTurnMax = 12;

    /// <summary>
    /// Most chains of one turn, of which one with many buffers counts as several: one of 1,024 pieces is all of a turn, since the kernel goes
    /// over the pieces again. Twelve requests of 64 KiB in pages are less.
    /// </summary>
    private const int ChainsPerTurnMax = 64;

    /// <summary>One queue at work: its engine, and operations to use again. On the queue's thread.</summary>
    private sealed class BlockQueue : QueueWorker
    {
        private readonly BlockDevice _device;
        private readonly IBlockEngine _engine;
        private readonly Stack<BlockOperation> _free;

        internal BlockQueue(BlockDevice device, QueueContext context) : base(context)
        {
            _device = device;
            _engine = device.Backend.CreateEngine(context.Reactor, context.Publish);
            (context.Turn.ChainsMax, context.Turn.CallsMax, context.Turn.BytesMax) = (ChainsPerTurnMax, RequestsPerTurnMax, BytesPerTurnMax);
            int made = Math.Min((int)context.Queue.Size, VirtQueue.MadeAtStart);
            _free = new Stack<BlockOperation>(made);
            for (int i = 0; i < made; i++) _free.Push(new BlockOperation(Complete));
        }

        public override void Serve()
        {
            VirtQueue requests = Queue;
            TurnBudget turn = Context.Turn;
            while (requests.TryPop(out DescriptorChain? chain))
            {
                turn.Charge((long)(chain.ReadableLength + chain.WritableLength), calls: 1);
                Start(chain);
            }
            _engine.Submit();
        }

        public override void Quiesce(QuiesceReason reason)
        {
            if (reason == QuiesceReason.Reset) _engine.Abandon();
        }

        protected override void Dispose(bool disposing)
        {
            _engine.Dispose();
            base.Dispose(disposing);
        }

        private void Start(DescriptorChain chain)
        {
            BlockOperation operation = _free.Count > 0 ? _free.Pop() : new BlockOperation(Complete);
            BlockLimits limits = _device._limits!;
            BlockVerdict verdict = BlockRequest.Prepare(chain, limits, _device.IsWriteThrough(limits), operation);
            if (verdict.IsStarted)
            {
                operation.Chain = chain;
                chain.Kind = (byte)KindOf(operation.Kind);
                _engine.Start(operation);
                return;
            }
            _free.Push(operation);
            Answer(chain, verdict.Status, verdict.Written);
            if (verdict.Fault.Kind != GuestFaultKind.None) Context.Fault(verdict.Fault);
        }

        private void Complete(BlockOperation operation, Errno error)
        {
            DescriptorChain chain = operation.Chain ?? throw new InvalidOperationException("an engine completed an operation twice");
            bool syncs = operation.IsDurable || operation.Kind == BlockOperationKind.Flush;
            operation.Clear();
            if (error != Errno.None) _device.CountError(operation, error);
            // What a sync lost that the storage failed is not known. One that never got there is asked for again.
            if (error != Errno.None && syncs && !operation.IsUnasked) _device._hasLostWrites = true;
            else if (operation.Kind == BlockOperationKind.Flush && _device._hasLostWrites) error = Errno.InputOutput;
            ulong data = operation.Kind == BlockOperationKind.Read
                ? chain.WritableLength - BlockProtocol.StatusLength - operation.Remaining : 0;
            _free.Push(operation);
            Answer(chain, error == Errno.None ? BlockStatus.Ok : BlockStatus.IoError, (uint)data);
        }

        /// <summary>Writes the status, which is the last writable byte, and gives the chain back.</summary>
        /// <param name="chain">The request.</param>
        /// <param name="status">How it ended.</param>
        /// <param name="data">Bytes written before the status. The used length counts from the start without a gap (virtio 1.2 §
        /// 2.7.8.2).</param>
        private void Answer(DescriptorChain chain, BlockStatus status, uint data)
        {
            ChainWriter writable = chain.Writable;
            bool answered = writable.TryCutLast(BlockProtocol.StatusLength, out ChainWriter last) && last.TryWrite((byte)status);
            Queue.Push(chain, answered && data == writable.Remaining ? data + BlockProtocol.StatusLength : data);
        }
    }

    /// <summary>Storage failed a request.</summary>
    private void CountError(BlockOperation operation, Errno error)
    {
        Interlocked.Increment(ref _errors[(int)operation.Kind]);
        ReportHostFault(error, operation.Kind switch
        {
            BlockOperationKind.Read => "cannot read from the disk",
            BlockOperationKind.Write => "cannot write to the disk",
            BlockOperationKind.Flush when operation.IsUnasked => "cannot flush the disk, whose storage is away",
            BlockOperationKind.Flush =>
                "cannot flush the disk: what was written may be lost, and every later flush fails until the disk is opened anew",
            BlockOperationKind.Discard => "cannot discard blocks of the disk",
            _ => "cannot write zeroes to the disk",
        }, Backend.Description);
    }
}
