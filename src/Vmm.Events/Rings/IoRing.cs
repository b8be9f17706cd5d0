using System.Runtime.CompilerServices;
using Vmm.Events.Buffers;
using Vmm.Events.Native;

namespace Vmm.Events.Rings;

/// <summary>
/// Completion-based input and output on a reactor: operations are begun here, go to the kernel together at the end of the reactor's turn,
/// and complete on the reactor's thread. Where io_uring is missing or forbidden, threads carry them out behind the same interface. Every
/// member is for the reactor's thread.
/// </summary>
public sealed partial class IoRing : IDisposable
{
    /// <summary>What a ring carries out.</summary>
    private static readonly IoUringOp[] Operations =
    [
        IoUringOp.ReadV, IoUringOp.WriteV, IoUringOp.Fsync, IoUringOp.ReadFixed, IoUringOp.WriteFixed, IoUringOp.PollAdd, IoUringOp.SendMsg,
        IoUringOp.RecvMsg, IoUringOp.Timeout, IoUringOp.Accept, IoUringOp.AsyncCancel, IoUringOp.LinkTimeout, IoUringOp.Connect,
        IoUringOp.Fallocate,
        IoUringOp.OpenAt, IoUringOp.Close, IoUringOp.FilesUpdate, IoUringOp.Statx, IoUringOp.Read, IoUringOp.Write, IoUringOp.Send,
        IoUringOp.Recv,
        IoUringOp.Splice, IoUringOp.Shutdown,
    ];

    private readonly Reactor _reactor;
    private readonly RingOptions _options;
    private readonly IRingEngine _engine;
    private readonly Turn _turn;
    private readonly WakeUp _wakeUp;
    private RingEngine? _sharedFor;
    private bool _disposed;

    /// <summary>Makes a ring for a reactor.</summary>
    /// <param name="reactor">The reactor its completions arrive on. Disposing that disposes the ring.</param>
    /// <param name="options">How it behaves; null for the defaults.</param>
    /// <exception cref="ArgumentException">The reactor is a mock with no <see cref="ReactorStandIn"/> behind it.</exception>
    /// <exception cref="KernelException">The kernel's ring was asked for and refused.</exception>
    public IoRing(IReactor reactor, RingOptions? options = null)
    {
        _reactor = ReactorStandIn.RealOf(reactor, "a ring needs");
        _options = options ?? new RingOptions();
        _options.Validate();
        _engine = _options.Decorate(CreateEngine(_options));
        Scratch = new SlabPool(_options.Scratch);
        _freeFileSlots = new Stack<int>(Enumerable.Range(0, _options.FilesMax).Reverse());
        _turn = new Turn(this);
        _wakeUp = new WakeUp(this, _engine.Wakeful) { BelongsToReactor = true };
        try
        {
            _reactor.Add(_wakeUp);
        }
        catch
        {
            _engine.Dispose();
            _engine.Wakeful.Dispose();
            Scratch.Dispose();
            throw;
        }
        _reactor.Attach(_turn);
    }

    /// <summary>The ring that a reactor's devices share, made with the default options when it is first asked for.</summary>
    /// <param name="reactor">Whose ring.</param>
    /// <param name="engine">What is to carry out its operations; there is one ring for each answer.</param>
    /// <param name="onlyTransfers">As <see cref="RingOptions.OnlyTransfers"/>; there is one ring for each answer.</param>
    /// <inheritdoc cref="IoRing(IReactor, RingOptions)" path="/exception"/>
    public static IoRing Of(IReactor reactor, RingEngine engine = RingEngine.Automatic, bool onlyTransfers = false)
    {
        Turn? shared = ReactorStandIn.RealOf(reactor, "a ring needs")
            .Find<Turn>(turn => turn.Ring._sharedFor == engine && turn.Ring._options.OnlyTransfers == onlyTransfers);
        return shared?.Ring
            ?? new IoRing(reactor, new RingOptions { Engine = engine, OnlyTransfers = onlyTransfers }) { _sharedFor = engine };
    }

    /// <summary>
    /// Called after a batch of completions was delivered, for what is to be done once a batch and not once an operation.
    /// </summary>
    public event Action? BatchDelivered;

    /// <summary>What carries out the operations: <c>io_uring</c> or <c>threads</c>.</summary>
    public string EngineName => _engine.Name;

    /// <summary>Whether threads stand in for the kernel's ring.</summary>
    public bool IsOnThreads => _engine is ThreadRingEngine;

    /// <summary>Operations begun and not completed.</summary>
    public int InFlight { get; private set; }

    /// <summary>What the ring did so far.</summary>
    public RingStatistics Statistics =>
        new(_operations, _completions, _engine.Counts.Submissions, _heldCount, _engine.Counts.Overflows);

    /// <summary>
    /// Cancels what is in flight and waits until the kernel is done with it: each operation completes once, as it ended or as cancelled.
    /// </summary>
    public void Dispose()
    {
        if (_disposed) return;
        _reactor.CheckThread();
        Drain();
        _disposed = true;
        _reactor.Detach(_turn);
        ReleaseBuffers();
        Scratch.Dispose();
        _engine.Dispose();
        _reactor.Remove(_wakeUp);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void CheckUsable()
    {
        ObjectDisposedException.ThrowIf(_disposed || _draining, this);
        _reactor.CheckThread();
        if (_chainLength > 0) CheckChain();
    }

    /// <summary>Throws if the chain that is open has no room. Apart, since there is one for few operations.</summary>
    private void CheckChain()
    {
        if (_chainLength == _engine.EntriesMax)
            throw new InvalidOperationException(
                $"a chain has at most {_engine.EntriesMax} operations: raise {nameof(RingOptions.SubmissionEntries)}");
    }

    private static IRingEngine CreateEngine(RingOptions options)
    {
        if (options.Engine == RingEngine.Threads) return new ThreadRingEngine(options);
        Errno errno = KernelRingEngine.TryCreate(options, out KernelRingEngine? engine);
        if (engine is not null) return Complete(engine, options);
        string reason = errno switch
        {
            Errno.NotPermitted => "kernel.io_uring_disabled or a seccomp filter forbids io_uring",
            Errno.NotImplemented or Errno.Invalid => "this kernel has no io_uring that is new enough",
            Errno.NoMemory => "there is too little locked memory for io_uring, raise RLIMIT_MEMLOCK",
            _ => $"io_uring_setup gave {errno}",
        };
        if (options.Engine == RingEngine.Kernel) throw new KernelException("cannot make a completion ring", errno, reason);
        options.OnFallBack($"{reason}: completions run on {options.Threads} threads");
        return new ThreadRingEngine(options);
    }

    /// <summary>Adds threads for the operations that the kernel's ring lacks.</summary>
    private static IRingEngine Complete(KernelRingEngine engine, RingOptions options)
    {
        IoUringOp[] lacking = [.. Operations.Where(operation =>
            !engine.Supports(operation) && (!options.OnlyTransfers || KernelRingEngine.IsTransfer(operation)))];
        if (lacking.Length == 0) return engine;
        string reason = $"the io_uring of this kernel lacks {string.Join(", ", lacking)}";
        if (options.Engine == RingEngine.Kernel)
        {
            engine.Wakeful.Dispose();
            engine.Dispose();
            throw new KernelException("cannot make a completion ring", Errno.NotImplemented, reason);
        }
        options.OnFallBack($"{reason}: these run on {options.Threads} threads");
        return new SplitRingEngine(engine, options);
    }

    /// <summary>The engine has completions while the reactor waits.</summary>
    private sealed class WakeUp(IoRing ring, EventFd fd) : Subscription<EventFd>(fd, Interest.Kick), IPolledSource
    {
        public bool HasWork => ring._engine.HasWork;

        public override string Name => "completion ring";

        // The kernel signals completions in either case.
        public bool StopLooking() => ring._engine.HasWork;

        protected internal override void Dispatch(Readiness ready, IReactor reactor) => ring._turn.Request();
    }

    /// <summary>The ring's part of the end of a turn.</summary>
    private sealed class Turn(IoRing ring) : TurnWork(RingsOrder)
    {
        internal IoRing Ring => ring;

        internal override int Run() => ring.RunTurn();

        internal override void ReactorEnding() => ring.Dispose();
    }
}
