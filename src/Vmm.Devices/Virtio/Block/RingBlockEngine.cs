using Vmm.Devices.Native;
using Vmm.Events;
using Vmm.Events.Buffers;
using Vmm.Events.Rings;

namespace Vmm.Devices;

/// <summary>
/// Runs a queue's operations on the reactor's completion ring, straight between the file and guest memory: those of a turn go to the kernel in one call at its
/// end, and the driver is told of completions once a batch. A read that comes alone is first looked for in the page cache, which takes one call too, and a
/// shorter one.
/// </summary>
internal sealed class RingBlockEngine : IBlockEngine
{
    /// <summary>Made at the start, so that a driver that goes no deeper makes nobody allocate later; more are made when they are first needed.</summary>
    private const int TransfersAtStart = 64;

    private readonly IoRing _ring;
    private readonly RingFile _file;
    private readonly RingFile? _cachedFile;
    private readonly DirectAlignment? _alignment;
    private readonly SlabPool? _bounces;
    private readonly Action _onCompleted;
    private readonly Stack<Transfer> _free = new();
    // For what a file system cannot do by itself, which is rare and slow on any engine.
    private readonly SynchronousBlockEngine _fallBack;
    private readonly CachedReads? _cachedReads;
    /// <summary>The first operation of the turn, a read: it may stay alone.</summary>
    private BlockOperation? _first;
    private bool _hasStarted;
    private bool _hasCompleted;

    internal RingBlockEngine(RawImage image, OwnedFd file, OwnedFd? cachedFile, IoRing ring, Action onCompleted)
    {
        _ring = ring;
        _file = ring.Register(file);
        _alignment = image.Alignment;
        if (cachedFile is not null) (_cachedFile, _bounces) = (ring.Register(cachedFile), new SlabPool());
        else if (_alignment is null) _cachedReads = new CachedReads(file.Number);
        _fallBack = new SynchronousBlockEngine(image);
        _onCompleted = onCompleted;
        for (int i = 0; i < TransfersAtStart; i++) _free.Push(new Transfer(this));
        ring.BatchDelivered += TellOfBatch;
    }

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
        if (_first is not { } alone) return;
        _first = null;
        if (_cachedReads!.TryRead(alone)) alone.Complete(Errno.None); else Begin(alone);
    }

    private void Begin(BlockOperation operation)
    {
        Transfer transfer = _free.TryPop(out Transfer? used) ? used : new Transfer(this);
        transfer.Start(operation);
    }

    public void Dispose()
    {
        _ring.BatchDelivered -= TellOfBatch;
        _file.Dispose();
        _cachedFile?.Dispose();
        _bounces?.Dispose();
    }

    private void TellOfBatch()
    {
        if (!_hasCompleted) return;
        _hasCompleted = false;
        _onCompleted();
    }

    /// <summary>One operation on its way: as many requests to the ring, one after the other, as it takes.</summary>
    private sealed class Transfer(RingBlockEngine engine) : RingRequest
    {
        private const int FirstVectors = 16;

        private readonly BounceBuffer? _bounce = engine._bounces is { } pool ? new BounceBuffer(pool) : null;
        private IoVectors _vectors = new(FirstVectors);
        private BlockOperation? _operation;
        private int _segment;

        internal void Start(BlockOperation operation)
        {
            _operation = operation;
            _segment = 0;
            Continue(operation);
        }

        protected override void Complete(int result)
        {
            BlockOperation operation = _operation!;
            Errno error = result < 0 ? (Errno)(-result) : Errno.None;
            switch (operation.Kind)
            {
                case BlockOperationKind.Read or BlockOperationKind.Write when error == Errno.None && result > 0:
                    _bounce?.End(operation, result);
                    operation.Advance((ulong)result);
                    if (operation.Remaining > 0) Continue(operation); else End(operation, Errno.None);
                    break;
                case BlockOperationKind.Read or BlockOperationKind.Write when error == Errno.None:
                    // The end of the file before the end of the disk: someone cut the image short behind our back.
                    End(operation, Errno.InputOutput);
                    break;
                case BlockOperationKind.Discard or BlockOperationKind.WriteZeroes:
                    SegmentEnded(operation, error);
                    break;
                default:
                    End(operation, error);
                    break;
            }
        }

        private void Continue(BlockOperation operation)
        {
            switch (operation.Kind)
            {
                case BlockOperationKind.Read or BlockOperationKind.Write when operation.Remaining == 0:
                    End(operation, Errno.None);
                    break;
                case BlockOperationKind.Read:
                    engine._ring.ReadV(this, Fill(operation), operation.Offset, _vectors);
                    break;
                case BlockOperationKind.Write:
                    engine._ring.WriteV(this, Fill(operation), operation.Offset, _vectors, operation.IsDurable);
                    break;
                case BlockOperationKind.Flush:
                    engine._ring.Fsync(this, engine._file, dataOnly: true);
                    break;
                default:
                    NextSegment(operation);
                    break;
            }
        }

        private void NextSegment(BlockOperation operation)
        {
            ReadOnlySpan<BlockSegment> segments = operation.Segments;
            while (_segment < segments.Length && segments[_segment].Length == 0) _segment++;
            if (_segment == segments.Length)
            {
                End(operation, Errno.None);
                return;
            }
            BlockSegment segment = segments[_segment];
            bool unmaps = operation.Kind == BlockOperationKind.Discard || segment.MayUnmap;
            FallocateMode mode = (unmaps ? FallocateMode.PunchHole : FallocateMode.ZeroRange) | FallocateMode.KeepSize;
            engine._ring.Fallocate(this, engine._file, mode, segment.Offset, segment.Length);
        }

        private void SegmentEnded(BlockOperation operation, Errno error)
        {
            if (error == Errno.NotSupported)
            {
                // From the start: what was zeroed or given back already may be so again.
                Release();
                engine._hasCompleted = true;
                engine._fallBack.Start(operation);
                return;
            }
            if (error != Errno.None)
            {
                End(operation, error);
                return;
            }
            _segment++;
            NextSegment(operation);
        }

        private void End(BlockOperation operation, Errno error)
        {
            Release();
            engine._hasCompleted = true;
            operation.Complete(error);
        }

        private void Release()
        {
            _operation = null;
            _bounce?.Release();
            engine._free.Push(this);
        }

        /// <summary>The vectors of the next piece, at an address that does not move.</summary>
        /// <returns>The file that takes them.</returns>
        private RingFile Fill(BlockOperation operation)
        {
            _vectors.Clear();
            bool fits = engine._alignment is not { } alignment || alignment.Fits(operation);
            if (!fits && engine._alignment!.FitsBlocks(operation) && _bounce!.TryBegin(operation, out Span<byte> memory))
            {
                _vectors.Add(memory);
                return engine._file;
            }
            ReadOnlySpan<IoVector> vectors = operation.Vectors;
            int count = Math.Min(vectors.Length, FileCalls.VectorsMax);
            if (count > _vectors.Capacity) _vectors = new IoVectors(FileCalls.VectorsMax);
            foreach (IoVector vector in vectors[..count]) _vectors.Add(vector.Address, (nint)vector.Length);
            return fits ? engine._file : engine._cachedFile!;
        }
    }
}
