using System.Runtime.CompilerServices;
using Vmm.Devices.Native;
using Vmm.Events;
using Vmm.Events.Buffers;
using Vmm.Events.Rings;
using Vmm.Events.Tasks;

namespace Vmm.Devices;

/// <summary>
/// Runs a queue's operations on the reactor's completion ring, straight between the file and guest memory: those of a turn go to the kernel
/// in one call at its end, and the driver gets one interrupt for a batch of completions. A read that comes alone is first looked for in the
/// page cache, which takes one call too, and a shorter one.
/// </summary>
internal sealed class RingBlockEngine : IBlockEngine
{
    /// <summary>How far the writer is.</summary>
    private enum Making
    {
        NotAsked,
        Asked,
        Begun,
        Over,
    }

    private readonly IoRing _ring;
    private readonly RingFile _file;
    private readonly RingFile? _cachedFile;
    private readonly DirectAlignment? _alignment;
    private readonly uint _zeroBlockBytes;
    private readonly bool _dontCache;
    private readonly SlabPool? _bounces;
    private readonly PinnedMemory? _pinned;
    /// <summary>Guest memory that the ring keeps; null if it keeps none.</summary>
    private readonly RingMemory? _memory;
    private readonly Action _onCompleted;
    private readonly Stack<Transfer> _free = new();
    private readonly CachedReads? _cachedReads;
    private readonly OwnedFd _owned;
    /// <summary>Null until a write to the page cache was asked not to wait, and the file system knows no such write.</summary>
    private WriterThread? _writer;
    private bool _mayNeedWriter;
    private readonly WriterMaker? _maker;
    private readonly RemoteEndpoint? _remote;
    private volatile Making _making;
    /// <summary>The first operation of the turn, a read: it may stay alone.</summary>
    private BlockOperation? _first;
    private bool _hasStarted;
    private bool _hasCompleted;

    internal RingBlockEngine(
        RawImage image, OwnedFd file, OwnedFd? cachedFile, IoRing ring, IReactor reactor, Action onCompleted, PinnedMemory? pinned = null)
    {
        _ring = ring;
        (_pinned, _memory) = (pinned, pinned?.Pages);
        _owned = file;
        _mayNeedWriter = cachedFile is null && image.Alignment is null && !image.DropsBehind && !ring.IsOnThreads;
        if (_mayNeedWriter) (_maker, _remote) = (WriterMaker.Instance, ReactorTasks.Of(reactor).Remote);
        _file = ring.Register(file);
        _alignment = image.Alignment;
        _dontCache = image.DropsBehind;
        _zeroBlockBytes = image.ZeroBlockBytes;
        if (cachedFile is not null) (_cachedFile, _bounces) = (ring.Register(cachedFile), new SlabPool());
        // To look into the page cache has the kernel begin to read ahead, and what it reads then stays there.
        else if (_alignment is null && !_dontCache) _cachedReads = new CachedReads(file.Number);
        _onCompleted = onCompleted;
        for (int i = 0; i < VirtQueue.MadeAtStart; i++) _free.Push(new Transfer(this));
        ring.BatchDelivered += ReportBatch;
    }

    /// <summary>
    /// What goes through the page cache. Ranges are zeroed and given back by it too: of a block device it is the descriptor that claimed
    /// it, for which alone the kernel drops what it has cached of the range.
    /// </summary>
    private RingFile Cached => _cachedFile ?? _file;

    /// <summary>The engine behind this one in the list of those that ask for a writer.</summary>
    internal RingBlockEngine? NextAsking { get; set; }

    public void Start(BlockOperation operation)
    {
        if (_first is { } first)
        {
            _first = null;
            Begin(first);
        }
        else if (!_hasStarted && operation.Kind == BlockOperationKind.Read && _cachedReads is not null)
        {
            _first = operation;
            return;
        }
        _hasStarted = true;
        Begin(operation);
    }

    // The ring submits what was begun at the end of the turn, that of other queues and disks with it.
    public void Submit()
    {
        _hasStarted = false;
        _writer?.Submit();
        if (_first is not { } alone) return;
        _first = null;
        if (_cachedReads!.TryRead(alone)) alone.Complete(Errno.None); else Begin(alone);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Begin(BlockOperation operation)
    {
        Transfer transfer = _free.TryPop(out Transfer? used) ? used : new Transfer(this);
        transfer.Start(operation);
    }

    public void Dispose()
    {
        _ring.BatchDelivered -= ReportBatch;
        EndWriter();
        _file.Dispose();
        _cachedFile?.Dispose();
        _bounces?.Dispose();
        _pinned?.Dispose();
    }

    /// <summary>
    /// Whether a thread of ours makes an operation's writes. The first write asks the file system (pwritev2(2), RWF_NOWAIT): one that
    /// can say that it would wait is left to the ring, which then makes most writes at once.
    /// </summary>
    private bool IsForWriter(BlockOperation operation)
    {
        // What is durable when it ends waits for the disk each time: those are made side by side, by the kernel's workers.
        if (operation.IsDurable) return false;
        if (!_mayNeedWriter) return HasWriter();
        if (operation.Vectors.Length > FileCalls.VectorsMax) return false;
        _mayNeedWriter = false;
        nint done = FileCalls.Write(_owned.Number, operation.Vectors, (long)operation.Offset, FileCalls.RWF_NOWAIT, out Errno error);
        // The same bytes are written again: that does no harm, and this is once.
        if (done >= 0 || error != Errno.NotSupported) return false;
        // The reactor's thread makes nothing new while it runs. Until the other one is there the ring has the writes.
        _making = Making.Asked;
        _maker!.Ask(this);
        return false;
    }

    /// <summary>Makes the writer that was asked for. On the thread of <see cref="WriterMaker"/>.</summary>
    internal void MakeWriter()
    {
        if (Interlocked.CompareExchange(ref _making, Making.Begun, Making.Asked) != Making.Asked) return;
        try
        {
            _writer = new WriterThread(_owned, _remote!, ReportBatch);
        }
        catch (Exception refused) when (refused is KernelException or OutOfMemoryException)
        {
            // The host has no thread or descriptor for it; the ring has its own.
        }
        _making = Making.Over;
    }

    private bool HasWriter() => _making == Making.Over && _writer is not null;

    /// <summary>Until this returns the file may be duplicated, and stay open with the locks that it has.</summary>
    private void EndWriter()
    {
        if (Interlocked.CompareExchange(ref _making, Making.Over, Making.Asked) == Making.Begun)
            SpinWait.SpinUntil(() => _making == Making.Over);
        _writer?.Dispose();
    }

    private void ReportBatch()
    {
        // What goes on after a completion goes on outside of a turn.
        _writer?.Submit();
        if (!_hasCompleted) return;
        _hasCompleted = false;
        _onCompleted();
    }

    /// <summary>One operation in flight: as many requests to the ring, one after the other, as it takes.</summary>
    private sealed class Transfer(RingBlockEngine engine) : RingRequest, IThreadedWrite
    {
        private readonly BlockCalls _calls = new(engine._zeroBlockBytes);
        private readonly BounceBuffer? _bounce = engine._bounces is { } pool ? new BounceBuffer(pool) : null;
        private readonly IoVectors _vectors = new(1);

        public IThreadedWrite? Next { get; set; }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal void Start(BlockOperation operation)
        {
            _calls.Begin(operation);
            Continue(operation);
        }

        public void Write(int file)
        {
            BlockOperation operation = _calls.Operation!;
            do
            {
                ReadOnlySpan<IoVector> vectors = operation.Vectors;
                if (vectors.Length > FileCalls.VectorsMax) vectors = vectors[..FileCalls.VectorsMax];
                nint written = FileCalls.Write(file, vectors, (long)operation.Offset, flags: 0, out Errno error);
                _calls.Ended(written < 0 ? -(long)error : written);
            }
            while (_calls.Call == BlockCall.Write);
        }

        public void Written() => Continue(_calls.Operation!);

        protected override void Complete(int result)
        {
            BlockOperation operation = _calls.Operation!;
            if (result > 0) _bounce?.End(operation, result);
            _calls.Ended(result);
            Continue(operation);
        }

        private void Continue(BlockOperation operation)
        {
            IoRing ring = engine._ring;
            switch (_calls.Call)
            {
                case BlockCall.Read:
                    ring.ReadV(this, Fill(operation), operation.Offset, _vectors, engine._dontCache, engine._memory);
                    break;
                case BlockCall.Write when engine.IsForWriter(operation): engine._writer!.Add(this); break;
                case BlockCall.Write:
                    ring.WriteV(this, Fill(operation), operation.Offset, _vectors, operation.IsDurable, engine._dontCache,
                        engine._memory);
                    break;
                case BlockCall.Allocate: ring.Fallocate(this, engine.Cached, _calls.Mode, _calls.Offset, _calls.Length); break;
                case BlockCall.WriteZeroes: ring.WriteV(this, FillZeroes(), _calls.Offset, _vectors); break;
                case BlockCall.Sync: ring.Fsync(this, engine._file, dataOnly: true); break;
                default: End(operation); break;
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private void End(BlockOperation operation)
        {
            Errno error = _calls.Error;
            _calls.Release();
            _bounce?.Release();
            engine._free.Push(this);
            engine._hasCompleted = true;
            operation.Complete(error);
        }

        private RingFile FillZeroes()
        {
            _vectors.Clear();
            IoVector.Over(BlockZeroes.Some(_calls.Length)).AddTo(_vectors);
            return engine.Cached;
        }

        /// <summary>The vectors of the next piece, at an address that does not move.</summary>
        /// <returns>The file that takes them.</returns>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private RingFile Fill(BlockOperation operation)
        {
            _vectors.Clear();
            bool fits = engine._alignment is not { } alignment || alignment.Fits(operation);
            if (!fits && engine._alignment!.FitsBlocks(operation) && _bounce!.TryBegin(operation, out Span<byte> memory))
            {
                IoVector.Over(memory).AddTo(_vectors);
                return engine._file;
            }
            operation.Lend(_vectors);
            return fits ? engine._file : engine._cachedFile!;
        }
    }
}
