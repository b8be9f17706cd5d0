using System.Runtime.CompilerServices;
using Vmm.Events;
using Vmm.Events.Buffers;

namespace Vmm.Devices;

/// <summary>What a backend does.</summary>
public enum BlockOperationKind
{
    /// <summary>Fill the vectors from the offset.</summary>
    Read,
    /// <summary>Store the vectors at the offset.</summary>
    Write,
    /// <summary>Make completed writes durable.</summary>
    Flush,
    /// <summary>Give the segments back; what they read as is undefined.</summary>
    Discard,
    /// <summary>Make the segments read as zero.</summary>
    WriteZeroes,
}

/// <summary>A range of a backend.</summary>
/// <param name="Offset">In bytes.</param>
/// <param name="Length">In bytes.</param>
/// <param name="MayUnmap">Whether the host's blocks may be given back (write-zeroes).</param>
public readonly record struct BlockSegment(ulong Offset, ulong Length, bool MayUnmap);

/// <summary>
/// One operation of a backend: everything an engine needs, checked against the capacity. Pooled by its queue; an engine has it from
/// <see cref="IBlockEngine.Start"/> to <see cref="Complete"/>, and as long the vectors point at mapped guest memory.
/// </summary>
public sealed class BlockOperation
{
    private const int FirstVectors = 16;

    /// <summary>Room for as many is kept from one use to the next: the 254 buffers that Linux puts into a request at most.</summary>
    private const int KeptVectors = 256;

    private readonly Action<BlockOperation, Errno> _onComplete;
    // Pinned: an engine may hand them to the kernel as they are.
    private IoVector[] _vectors = GC.AllocateArray<IoVector>(FirstVectors, pinned: true);
    private BlockSegment[] _segments = [];
    private int _next;
    private int _end;
    private int _segmentCount;

    /// <summary>Makes an operation that can be used over and over.</summary>
    /// <param name="onComplete">Called with each completion.</param>
    public BlockOperation(Action<BlockOperation, Errno> onComplete) => _onComplete = onComplete;

    /// <summary>What to do.</summary>
    public BlockOperationKind Kind { get; private set; }

    /// <summary>Where the next byte is read or written.</summary>
    public ulong Offset { get; private set; }

    /// <summary>Bytes still to read or write.</summary>
    public ulong Remaining { get; private set; }

    /// <summary>Whether a write, discard or write-zeroes completes only when what it changed is durable: the write cache is off.</summary>
    public bool IsDurable { get; private set; }

    /// <summary>The guest memory still to fill or to store; together <see cref="Remaining"/> bytes.</summary>
    public ReadOnlySpan<IoVector> Vectors => _vectors.AsSpan(_next, _end - _next);

    /// <summary>
    /// Has a list stand for the next vectors, at most as many as one call takes. They are the list's until the operation goes on or ends.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Lend(IoVectors list) => IoVector.Lend(_vectors, _next, Math.Min(_end - _next, IoVectors.CountMax), list);

    /// <summary>The ranges of a discard or write-zeroes.</summary>
    public ReadOnlySpan<BlockSegment> Segments => _segments.AsSpan(0, _segmentCount);

    /// <summary>Whether it failed before its storage had any of it: see <see cref="Refuse"/>.</summary>
    internal bool IsUnasked { get; private set; }

    /// <summary>The chain it answers; null while it is not in use.</summary>
    internal DescriptorChain? Chain { get; set; }

    /// <summary>Takes note of bytes that were transferred: the operation goes on after them.</summary>
    /// <param name="bytes">At most <see cref="Remaining"/>.</param>
    public void Advance(ulong bytes)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(bytes, Remaining);
        Offset += bytes;
        Remaining -= bytes;
        while (bytes > 0)
        {
            IoVector first = _vectors[_next];
            if (bytes < first.Length)
            {
                _vectors[_next] = new IoVector(first.Address + (nint)bytes, first.Length - (nuint)bytes);
                return;
            }
            bytes -= first.Length;
            _next++;
        }
    }

    /// <summary>Ends the operation. Engines only, once for each start, on the queue's thread.</summary>
    /// <param name="error">What the host said; <see cref="Errno.None"/> if all of it is done.</param>
    public void Complete(Errno error) => _onComplete(this, error);

    /// <summary>
    /// Ends the operation with an error that is not its storage's: nothing of it went there, and a sync that did not go there was not
    /// failed by it. Engines only, in place of <see cref="Complete"/>.
    /// </summary>
    internal void Refuse(Errno error)
    {
        IsUnasked = true;
        _onComplete(this, error);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void PrepareRead(ulong offset, ulong length, in ChainWriter data)
    {
        Prepare(BlockOperationKind.Read, offset, length);
        while ((_end = data.FillVectors(_vectors, 0, length, out ulong described)) == _vectors.Length && described < length) Grow();
    }

    internal void PrepareWrite(ulong offset, ulong length, bool durable, in ChainReader data)
    {
        Prepare(BlockOperationKind.Write, offset, length);
        IsDurable = durable;
        while ((_end = data.FillVectors(_vectors, 0, length, out ulong described)) == _vectors.Length && described < length) Grow();
    }

    internal void PrepareFlush() => Prepare(BlockOperationKind.Flush, 0, 0);

    /// <summary>Room for the segments of a discard or write-zeroes, to be filled by the caller.</summary>
    internal Span<BlockSegment> PrepareSegments(BlockOperationKind kind, int count, bool durable)
    {
        Prepare(kind, 0, 0);
        IsDurable = durable;
        if (_segments.Length < count) _segments = new BlockSegment[count];
        _segmentCount = count;
        return _segments.AsSpan(0, count);
    }

    /// <summary>The chain was answered: what a request of very many buffers needed goes.</summary>
    internal void Clear()
    {
        Chain = null;
        if (_vectors.Length > KeptVectors) _vectors = GC.AllocateArray<IoVector>(FirstVectors, pinned: true);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Prepare(BlockOperationKind kind, ulong offset, ulong length)
    {
        Kind = kind;
        Offset = offset;
        Remaining = length;
        IsDurable = IsUnasked = false;
        _next = _end = _segmentCount = 0;
    }

    /// <summary>Room for more, which is filled from the start again. Bounded by the pieces a chain may have.</summary>
    private void Grow() => _vectors = GC.AllocateArray<IoVector>(_vectors.Length * 4, pinned: true);
}
