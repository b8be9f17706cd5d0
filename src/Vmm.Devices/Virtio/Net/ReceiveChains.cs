namespace Vmm.Devices;

/// <summary>
/// The receive buffers at hand for the next frame: chains that were popped, in order, seen as one run of bytes. The first bytes of the run
/// are described as vectors for the network to fill. On the queue's thread.
/// </summary>
/// <param name="context">Where the chains come from.</param>
/// <param name="headerLength">Bytes each chain must have room for.</param>
internal sealed class ReceiveChains(QueueContext context, int headerLength)
{
    /// <summary>Chains of one frame. A driver whose buffers are so small that a frame needs more does not get it.</summary>
    private const int CountMax = 256;

    /// <summary>Vectors of one receive. What a run has beyond them is filled by a copy.</summary>
    private const int VectorsMax = 256;

    internal static readonly GuestFault NoRoom = new(GuestFaultKind.Request, "a receive buffer without room for a header (§ 5.1.6.3)");

    private readonly DescriptorChain[] _chains = new DescriptorChain[CountMax];
    private readonly IoVector[] _vectors = new IoVector[VectorsMax + 1];
    private int _count;
    private int _vectorCount;
    private int _descriptors;

    /// <summary>Bytes of the run.</summary>
    internal ulong Room { get; private set; }

    /// <summary>Bytes of the run, from its start, that the vectors cover.</summary>
    internal int Described { get; private set; }

    /// <summary>What the network is to fill.</summary>
    internal ReadOnlySpan<IoVector> Vectors => _vectors.AsSpan(0, _vectorCount);

    /// <summary>
    /// Whether the driver can make more buffers available: a ring that is too short for a frame must not hold it for ever.
    /// </summary>
    internal bool CanGrow => _count < CountMax && (_count == 0 || _descriptors + DescriptorsOf(_chains[_count - 1]) <= context.Queue.Size);

    /// <summary>Pops chains until they have room for some bytes; at least one.</summary>
    /// <returns>False if there is none.</returns>
    internal bool TryGather(int bytes)
    {
        VirtQueue queue = context.Queue;
        while ((_count == 0 || Room < (ulong)bytes) && _count < CountMax && queue.TryPop(out DescriptorChain? chain))
        {
            if (chain.WritableLength < (ulong)headerLength)
            {
                queue.Push(chain, 0);
                queue.Fault(NoRoom);
                break;
            }
            _chains[_count++] = chain;
            Room += chain.WritableLength;
            _descriptors += DescriptorsOf(chain);
        }
        return _count > 0;
    }

    /// <summary>Puts back what was not used, the latest first.</summary>
    internal void PutBack()
    {
        while (_count > 0) context.Queue.Unpop(_chains[--_count]);
        Room = 0;
        _descriptors = 0;
    }

    /// <summary>Makes the vectors. Whatever the chains have, the network fills no byte of a frame beyond the overflow's length.</summary>
    /// <param name="skip">Bytes at the start that the network does not fill.</param>
    /// <param name="overflow">Where bytes go that the chains don't take: the byte at place n of the frame to place n.</param>
    internal void Describe(int skip, PinnedBytes overflow)
    {
        int overflowLength = overflow.Length;
        _vectorCount = 0;
        ulong position = (ulong)skip;
        for (int i = 0; i < _count && position < (ulong)overflowLength; i++)
        {
            ulong first = i == 0 ? (ulong)skip : 0;
            ulong wanted = Math.Min(_chains[i].WritableLength - first, (ulong)overflowLength - position);
            Span<IoVector> free = _vectors.AsSpan(_vectorCount, VectorsMax - _vectorCount);
            _vectorCount += _chains[i].Writable.FillVectors(free, first, wanted, out ulong described);
            position += described;
            if (described < wanted) break;
        }
        Described = (int)position;
        if (Described < overflowLength) _vectors[_vectorCount++] = overflow.Piece(Described, overflowLength - Described);
    }

    /// <summary>Copies bytes of the run out of it.</summary>
    /// <param name="position">Where they begin.</param>
    /// <param name="destination">As many as the run has there.</param>
    internal void Read(int position, Span<byte> destination) => Copy(position, destination, writes: false);

    /// <summary>Copies bytes into the run.</summary>
    /// <param name="position">Where they begin.</param>
    /// <param name="source">Left as it is.</param>
    internal void Write(int position, Span<byte> source) => Copy(position, source, writes: true);

    /// <summary>How many chains a frame fills.</summary>
    internal int CountFor(int length)
    {
        int count = 1;
        for (ulong filled = _chains[0].WritableLength; filled < (ulong)length; count++) filled += _chains[count].WritableLength;
        return count;
    }

    /// <summary>The start of the run, for its header: no chain is shorter than that.</summary>
    internal ChainWriter Header => _chains[0].Writable;

    /// <summary>Gives the first chains back to the driver, with a frame in them.</summary>
    internal void Push(int count, int length)
    {
        ulong left = (ulong)length;
        for (int i = 0; i < count; i++)
        {
            DescriptorChain chain = _chains[i];
            ulong here = Math.Min(left, chain.WritableLength);
            left -= here;
            Room -= chain.WritableLength;
            _descriptors -= DescriptorsOf(chain);
            context.Queue.Push(chain, (uint)here);
        }
        _count -= count;
        if (_count > 0) Array.Copy(_chains, count, _chains, 0, _count);
    }

    private void Copy(int position, Span<byte> bytes, bool writes)
    {
        int skip = position;
        for (int i = 0; i < _count && bytes.Length > 0; i++)
        {
            ChainWriter chain = _chains[i].Writable;
            if (!chain.TrySkip((ulong)skip))
            {
                skip -= (int)chain.Remaining;
                continue;
            }
            skip = 0;
            while (bytes.Length > 0 && chain.TryNext(out Span<byte> piece, (ulong)bytes.Length))
            {
                if (writes) bytes[..piece.Length].CopyTo(piece); else piece.CopyTo(bytes);
                bytes = bytes[piece.Length..];
            }
        }
    }

    private static int DescriptorsOf(DescriptorChain chain) => chain.WritableSegments + chain.ReadableSegments;
}
