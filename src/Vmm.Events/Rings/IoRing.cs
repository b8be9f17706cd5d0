using Vmm.Events.Buffers;

namespace Vmm.Events.Rings;

/// <summary>
/// Completion-based input and output on a reactor: operations are begun here, go to the kernel together at the end of the reactor's turn,
/// and complete on the reactor's thread. Where io_uring is missing or forbidden, threads carry them out behind the same interface. Every
/// member is for the reactor's thread.
/// </summary>
/// <remarks>
/// This file has the life of a ring and of an operation in it; the operations themselves are in two others, on files and on the rest.
/// <code>
/// ring:       Open ── Dispose, or the reactor ends ──► Draining ── nothing is in flight ──► Closed
/// operation:  begun ──► held (no room, or in a chain) ──► in the table, the engine has it ──► completed
///                └──────────── there is room ────────────────────▲
/// </code>
/// </remarks>
public sealed partial class IoRing : IDisposable
{
    private enum Phase
    {
        Open,
        Draining,
        Closed,
    }

    /// <summary>Most completions delivered before tasks and descriptors get their turn.</summary>
    private const int CompletionsPerRoundMax = 1024;

    /// <summary>How long the end of a ring waits for the kernel before it says that something hangs. It goes on waiting.</summary>
    private const int DrainReportMs = 10_000;

    private readonly Reactor _reactor;
    private readonly RingOptions _options;
    private readonly IRingEngine _engine;
    private readonly OperationTable _table;
    private readonly HeldOperations _held = new();
    private readonly WantedCancellations _cancellations = new();
    private readonly RegisteredFiles _files;
    private readonly RegisteredPages _pages;
    private readonly Turn _turn;
    private readonly WakeUp _wakeUp;
    private RingEngine? _sharedFor;
    private Phase _phase;
    private long _operations;
    private long _completions;

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
        _engine = RingEngines.Create(_options);
        _table = new OperationTable(_options.OperationsMax);
        _files = new RegisteredFiles(_engine, _options.FilesMax);
        Buffers = new RegisteredBuffers(_engine, _options.BuffersMax);
        _pages = new RegisteredPages(Buffers);
        Scratch = new SlabPool(_options.Scratch);
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
        _reactor.Work.Attach(_turn);
    }

    /// <summary>The ring that a reactor's devices share, made with the default options when it is first asked for.</summary>
    /// <param name="reactor">Whose ring.</param>
    /// <param name="engine">What is to carry out its operations; there is one ring for each answer.</param>
    /// <param name="onlyTransfers">As <see cref="RingOptions.OnlyTransfers"/>; there is one ring for each answer.</param>
    /// <inheritdoc cref="IoRing(IReactor, RingOptions)" path="/exception"/>
    public static IoRing Of(IReactor reactor, RingEngine engine = RingEngine.Automatic, bool onlyTransfers = false)
    {
        Turn? shared = ReactorStandIn.RealOf(reactor, "a ring needs")
            .Work.Find<Turn>(turn => turn.Ring._sharedFor == engine && turn.Ring._options.OnlyTransfers == onlyTransfers);
        return shared?.Ring
            ?? new IoRing(reactor, new RingOptions { Engine = engine, OnlyTransfers = onlyTransfers }) { _sharedFor = engine };
    }

    /// <summary>Called after a batch of completions was delivered, for what is to be done once a batch and not once an operation.</summary>
    public event Action? BatchDelivered;

    /// <summary>What carries out the operations: <c>io_uring</c> or <c>threads</c>.</summary>
    public string EngineName => _engine.Name;

    /// <summary>Whether threads stand in for the kernel's ring.</summary>
    public bool IsOnThreads => _engine is ThreadRingEngine;

    /// <summary>Operations begun and not completed.</summary>
    public int InFlight { get; private set; }

    /// <summary>What the ring did so far.</summary>
    public RingStatistics Statistics =>
        new(_operations, _completions, _engine.Counts.Submissions, _held.Count, _engine.Counts.Overflows);

    internal ReactorTimers Timers => _reactor.Timers;

    internal RemoteEndpoint Remote => _reactor.Remote;

    /// <summary>For arguments that the kernel reads from memory: paths, addresses, message heads.</summary>
    internal SlabPool Scratch { get; }

    /// <summary>What is in the kernel's table of buffers.</summary>
    internal RegisteredBuffers Buffers { get; }

    internal bool IsOpen => _phase != Phase.Closed;

    /// <summary>The cells of operations that are over.</summary>
    internal OperationPools Cells { get; } = new();

    /// <summary>
    /// Has the kernel keep the pool's pages mapped for this ring, each from its first use on: reads and writes of its buffers are cheaper
    /// then. Where the kernel refuses (RLIMIT_MEMLOCK, threads) everything works as before.
    /// </summary>
    /// <exception cref="InvalidOperationException">Another ring registers this pool.</exception>
    public void RegisterBuffers(SlabPool pool)
    {
        ArgumentNullException.ThrowIfNull(pool);
        CheckUsable();
        _pages.Add(pool);
    }

    /// <summary>Memory for this ring to keep pages of; none at first.</summary>
    public RingMemory CreateMemory() => new(this, _engine.TakesFixedLists);

    /// <summary>Hands over now what was begun, instead of at the end of the turn.</summary>
    public void Flush()
    {
        CheckUsable();
        if (!_held.IsChainOpen) HandOver();
        _engine.Submit();
        _turn.Request();
    }

    /// <summary>Opens a chain: what is begun until it is disposed runs one after the other.</summary>
    /// <exception cref="InvalidOperationException">A chain is open.</exception>
    public RingChain Chain()
    {
        CheckUsable();
        if (_held.IsChainOpen) throw new InvalidOperationException("a chain is open: dispose it first");
        _held.BeginChain();
        return new RingChain(this);
    }

    internal void EndChain() => _held.EndChain();

    /// <summary>
    /// Asks for an operation to end early. It completes in any case, later and once: with its result, or with <see cref="Errno.Canceled"/>
    /// (some calls say <see cref="Errno.Interrupted"/>).
    /// </summary>
    /// <returns>False if it is not in flight.</returns>
    public bool Cancel(RingRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        CheckUsable();
        if (!request.IsInFlight) return false;
        if (_cancellations.Add(request)) _turn.Request();
        return true;
    }

    /// <summary>
    /// Cancels what is in flight and waits until the kernel is done with it: each operation completes once, as it ended or as cancelled.
    /// </summary>
    public void Dispose()
    {
        if (_phase == Phase.Closed) return;
        _reactor.CheckThread();
        Drain();
        _phase = Phase.Closed;
        _reactor.Work.Detach(_turn);
        _pages.Release();
        Scratch.Dispose();
        _engine.Dispose();
        _reactor.Remove(_wakeUp);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void CheckUsable()
    {
        ObjectDisposedException.ThrowIf(_phase != Phase.Open, this);
        _reactor.CheckThread();
        if (_held.IsChainOpen) CheckChain();
    }

    /// <summary>Throws if the chain that is open has no room. Apart, since there is one for few operations.</summary>
    private void CheckChain()
    {
        if (_held.OpenChain == _engine.EntriesMax)
            throw new InvalidOperationException(
                $"a chain has at most {_engine.EntriesMax} operations: raise {nameof(RingOptions.SubmissionEntries)}");
    }

    /// <summary>Begins an operation whose entry is filled in.</summary>
    private void Begin(RingRequest request, RingFile? file)
    {
        CheckBeginnable(request);
        BeginChecked(request, file);
    }

    private void BeginChecked(RingRequest request, RingFile? file)
    {
        if (_held.IsChainOpen) _held.Link(request);
        file?.Begin(ref request.Entry);
        request.File = file;
        Enqueue(request);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void CheckBeginnable(RingRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        CheckUsable();
        if (request.IsInFlight) throw new InvalidOperationException("the operation is in flight: begin it again when it has completed");
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Enqueue(RingRequest request)
    {
        _operations++;
        InFlight++;
        if (_held.First is null && CanHandOver() && !HeldOperations.IsLinked(request)) Prepare(request);
        else _held.Add(request);
        _turn.Request();
    }

    private void Prepare(RingRequest request)
    {
        _table.Add(request);
        _engine.Prepare(request.Entry);
    }

    /// <summary>One round: hand over, submit, deliver.</summary>
    private int RunTurn()
    {
        _engine.SetSignalling(false);
        HandOver();
        _engine.Submit();
        int delivered = Deliver(CompletionsPerRoundMax);
        if (_phase == Phase.Closed) return delivered;
        if ((_held.First is not null || !_cancellations.IsEmpty) && CanHandOver()) _turn.Request();
        _engine.SetSignalling(true);
        // Completions that arrived while the signal was off.
        if (_engine.HasWork) _turn.Request();
        return delivered;
    }

    private bool CanHandOver() => _engine.Room > 0 && _table.HasRoom;

    private void HandOver()
    {
        while (_held.First is not null && _table.HasRoom)
        {
            int chain = _held.LengthOfFirstChain();
            if (_engine.Room < chain)
            {
                _engine.Submit();
                if (_engine.Room < chain) break;
            }
            for (; chain > 0; chain--) Prepare(_held.Take());
        }
        if (!_cancellations.IsEmpty) _cancellations.HandOver(_engine);
    }

    private int Deliver(int completionsMax)
    {
        int delivered = 0;
        while (delivered < completionsMax && _phase != Phase.Closed && _engine.TryTake(out IoUringCompletion completion))
        {
            if (completion.UserData == WantedCancellations.Tag) continue;
            delivered++;
            Complete(_table.Take(completion.UserData), completion.Result);
        }
        _completions += delivered;
        if (delivered > 0) BatchDelivered?.Invoke();
        return delivered;
    }

    private void Complete(RingRequest request, int result)
    {
        request.Slot = RingRequest.Idle;
        request.CancelWanted = false;
        InFlight--;
        RingFile? file = request.File;
        request.File = null;
        try
        {
            request.Complete(result);
        }
        catch (Exception exception)
        {
            _reactor.FailWork($"completion of {request.GetType().Name}", exception);
        }
        file?.End();
    }

    /// <summary>Ends every operation and waits for the kernel to let go of the last one (buffer invariant A).</summary>
    private void Drain()
    {
        if (_phase != Phase.Open) return;
        _phase = Phase.Draining;
        while (_held.First is not null) Complete(_held.Take(), -(int)Errno.Canceled);
        foreach (RingRequest request in _table.All) _cancellations.Add(request);
        long reportAt = Environment.TickCount64 + DrainReportMs;
        while (InFlight > 0)
        {
            _cancellations.HandOver(_engine);
            _engine.Wait(timeoutMs: 100);
            Deliver(int.MaxValue);
            if (Environment.TickCount64 < reportAt) continue;
            reportAt = long.MaxValue;
            _reactor.Report(new HandlerFailure("completion ring",
                new TimeoutException($"{InFlight} cancelled operations do not end: still waiting")));
        }
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
