using System.Runtime.CompilerServices;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>One queue of a disk at work: its engine, and operations to use again. On the queue's thread.</summary>
internal sealed class BlockQueue : QueueWorker
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
    /// Most chains of one turn, of which one with many buffers counts as several: one of 1,024 pieces is all of a turn, since the kernel
    /// goes over the pieces again. Twelve requests of 64 KiB in pages are less.
    /// </summary>
    private const int ChainsPerTurnMax = 64;

    private readonly BlockDevice _device;
    /// <summary>Null while the disk gets another medium.</summary>
    private IBlockEngine? _engine;
    private TaskCompletionSource? _held;
    private bool _isGone;
    private readonly Stack<BlockOperation> _free;

    internal BlockQueue(BlockDevice device, QueueContext context) : base(context)
    {
        _device = device;
        (context.Turn.ChainsMax, context.Turn.CallsMax, context.Turn.BytesMax) =
            (ChainsPerTurnMax, RequestsPerTurnMax, BytesPerTurnMax);
        int made = Math.Min((int)context.Queue.Size, VirtQueue.MadeAtStart);
        _free = new Stack<BlockOperation>(made);
        for (int i = 0; i < made; i++) _free.Push(new BlockOperation(Complete));
        _engine = device.Medium.Enter(this);
    }

    /// <summary>What carries the queue's requests out on the medium that the disk has now.</summary>
    internal IBlockEngine CreateEngine() => _device.CreateEngine(Context);

    /// <summary>Takes no more requests, and completes when none is in flight and the engine is closed. Any thread.</summary>
    internal Task HoldAsync()
    {
        TaskCompletionSource held = new(TaskCreationOptions.RunContinuationsAsynchronously);
        if (!Post(() =>
        {
            _held = held;
            if (_isGone) held.SetResult();
            else LetGoIfQuiet();
        })) held.SetResult();
        return held.Task;
    }

    /// <summary>Goes on, with the medium that the disk has now. Any thread.</summary>
    internal Task GoOnAsync()
    {
        TaskCompletionSource goesOn = new(TaskCreationOptions.RunContinuationsAsynchronously);
        if (!Post(() =>
        {
            _held?.TrySetCanceled();
            _held = null;
            try
            {
                if (!_isGone) _engine ??= CreateEngine();
                goesOn.SetResult();
            }
            catch (KernelException refused)
            {
                Context.Driver.Interrupt.SignalNeedsReset();
                goesOn.SetException(refused);
            }
            Context.ServeNow();
        })) goesOn.SetResult();
        return goesOn.Task;
    }

    public override void Serve()
    {
        // The requests wait in the ring until the disk has its medium.
        if (_engine is not { } engine || _held is not null) return;
        VirtQueue requests = Queue;
        TurnBudget turn = Context.Turn;
        while (requests.TryPop(out DescriptorChain? chain))
        {
            turn.Charge((long)(chain.ReadableLength + chain.WritableLength), calls: 1);
            Start(chain);
        }
        engine.Submit();
    }

    public override void Quiesce(QuiesceReason reason)
    {
        if (reason == QuiesceReason.Reset) _engine?.Abandon();
    }

    protected override void Dispose(bool disposing)
    {
        _device.Medium.Leave(this);
        _isGone = true;
        CloseEngine();
        base.Dispose(disposing);
    }

    private void LetGoIfQuiet()
    {
        if (_held is not null && Queue.InFlight == 0) CloseEngine();
    }

    private void CloseEngine()
    {
        _engine?.Dispose();
        _engine = null;
        _held?.TrySetResult();
    }

    private bool Post(Action action) => Context.Remote.TryPost(new Call(action));

    private sealed class Call(Action action) : RemoteCall
    {
        protected override void Run(IReactor reactor) => action();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Start(DescriptorChain chain)
    {
        BlockOperation operation = _free.Count > 0 ? _free.Pop() : new BlockOperation(Complete);
        BlockLimits limits = _device.Limits!;
        BlockVerdict verdict = BlockRequest.Prepare(chain, limits, _device.IsWriteThrough(limits), operation);
        if (verdict.IsStarted)
        {
            operation.Chain = chain;
            chain.Kind = (byte)BlockFigures.KindOf(operation.Kind);
            _engine!.Start(operation);
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
        if (error != Errno.None && syncs && !operation.IsUnasked) _device.HasLostWrites = true;
        else if (operation.Kind == BlockOperationKind.Flush && _device.HasLostWrites) error = Errno.InputOutput;
        ulong data = operation.Kind == BlockOperationKind.Read
            ? chain.WritableLength - BlockProtocol.StatusLength - operation.Remaining : 0;
        _free.Push(operation);
        Answer(chain, error == Errno.None ? BlockStatus.Ok : BlockStatus.IoError, (uint)data);
        // Not from inside of the engine, which is about to be closed.
        if (_held is not null) Post(LetGoIfQuiet);
    }

    /// <summary>Writes the status, which is the last writable byte, and gives the chain back.</summary>
    /// <param name="chain">The request.</param>
    /// <param name="status">How it ended.</param>
    /// <param name="data">Bytes written before the status. The used length counts from the start without a gap (virtio 1.2 §
    /// 2.7.8.2).</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Answer(DescriptorChain chain, BlockStatus status, uint data)
    {
        ChainWriter writable = chain.Writable;
        bool answered = writable.TryCutLast(BlockProtocol.StatusLength, out ChainWriter last) && last.TryWrite((byte)status);
        Queue.Push(chain, answered && data == writable.Remaining ? data + BlockProtocol.StatusLength : data);
    }
}
