using Vmm.Events;

namespace Vmm.Devices;

public sealed partial class BlockDevice
{
    /// <summary>Most bytes that the requests begun in one turn move, but for the last of them; then the other devices have theirs.</summary>
    private const ulong BytesPerTurnMax = 16 << 20;

    /// <summary>
    /// Most requests begun in one turn: the driver goes on with the first of a deep queue while the rest is served. All of 32 in one turn had driver and
    /// device wait for each other: 12 at a time are 1.7 times as many.
    /// </summary>
    private const int RequestsPerTurnMax = 12;

    private void ServeRequests(VirtQueue requests)
    {
        BlockQueue queue = _serving[requests.Index]!;
        ulong bytes = 0;
        int begun = 0;
        while (bytes < BytesPerTurnMax && begun < RequestsPerTurnMax && requests.TryPop(out DescriptorChain? chain))
        {
            bytes += chain.ReadableLength + chain.WritableLength;
            begun++;
            queue.Start(chain);
        }
        queue.Submit();
        if (bytes >= BytesPerTurnMax || begun == RequestsPerTurnMax) ContinueLater(requests);
    }

    /// <summary>One queue at work: its engine, and operations to use again. On the queue's thread.</summary>
    private sealed class BlockQueue : IDisposable
    {
        private readonly BlockDevice _device;
        private readonly VirtQueue _requests;
        private readonly IBlockEngine _engine;
        private readonly Stack<BlockOperation> _free;

        internal BlockQueue(BlockDevice device, VirtQueue requests, IReactor reactor)
        {
            _device = device;
            _requests = requests;
            _engine = device.Backend.CreateEngine(reactor, requests.Publish);
            _free = new Stack<BlockOperation>(requests.Size);
            for (int i = 0; i < requests.Size; i++) _free.Push(new BlockOperation(Complete));
        }

        public void Dispose() => _engine.Dispose();

        internal void Submit() => _engine.Submit();

        internal void Start(DescriptorChain chain)
        {
            BlockOperation operation = _free.Pop();
            BlockVerdict verdict = BlockRequest.Prepare(chain, _device._limits!, operation);
            if (verdict.IsStarted)
            {
                operation.Chain = chain;
                _engine.Start(operation);
                return;
            }
            _free.Push(operation);
            Answer(chain, verdict.Status, verdict.Written);
            if (verdict.Fault.Kind != GuestFaultKind.None) _requests.Fault(verdict.Fault);
        }

        private void Complete(BlockOperation operation, Errno error)
        {
            DescriptorChain chain = operation.Chain ?? throw new InvalidOperationException("an engine completed an operation twice");
            operation.Chain = null;
            if (error != Errno.None) _device.ReportHostFault(operation.Kind, error);
            ulong data = operation.Kind == BlockOperationKind.Read ? chain.WritableLength - BlockProtocol.StatusLength - operation.Remaining : 0;
            _free.Push(operation);
            Answer(chain, error == Errno.None ? BlockStatus.Ok : BlockStatus.IoError, (uint)data);
        }

        /// <summary>Writes the status, which is the last writable byte, and gives the chain back.</summary>
        /// <param name="chain">The request.</param>
        /// <param name="status">How it ended.</param>
        /// <param name="data">Bytes written before the status. The used length counts from the start without a gap (virtio 1.2 § 2.7.8.2).</param>
        private void Answer(DescriptorChain chain, BlockStatus status, uint data)
        {
            ChainWriter writable = chain.Writable;
            bool answered = writable.TryCutLast(BlockProtocol.StatusLength, out ChainWriter last) && last.TryWrite((byte)status);
            _requests.Push(chain, answered && data == writable.Remaining ? data + BlockProtocol.StatusLength : data);
        }
    }

    private void ReportHostFault(BlockOperationKind kind, Errno error) => ReportHostFault(error, kind switch
    {
        BlockOperationKind.Read => "cannot read from the disk",
        BlockOperationKind.Write => "cannot write to the disk",
        BlockOperationKind.Flush => "cannot flush the disk",
        BlockOperationKind.Discard => "cannot discard blocks of the disk",
        _ => "cannot write zeroes to the disk",
    }, Backend.Description);
}
