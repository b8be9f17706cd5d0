using Vmm.Events.Buffers;
using Vmm.Events.Native;

namespace Vmm.Events.Rings;

/// <summary>Operations to be awaited: buffers go in and come back with the result.</summary>
public sealed partial class IoRing
{
    /// <summary>For an offset: the file's own position, and what has none (pipes, sockets).</summary>
    public const ulong CurrentPosition = ulong.MaxValue;

    /// <summary>Reads behind the written bytes of a buffer (pread(2)).</summary>
    /// <param name="file">Where from.</param>
    /// <param name="buffer">Where to. It is the operation's until the result.</param>
    /// <param name="offset">Byte position in the file, or <see cref="CurrentPosition"/>.</param>
    /// <param name="count">Most bytes; null for all the room there is.</param>
    /// <inheritdoc cref="ReadV(RingRequest, RingFile, ulong, IoVectors, bool)" path="/exception"/>
    public RingOperation<BufferResult> Read(RingFile file, SlabBuffer buffer, ulong offset = CurrentPosition, int? count = null) =>
        Fill(IoUringOp.Read, file, buffer, offset, count, flags: 0);

    /// <summary>Writes frozen bytes (pwrite(2)).</summary>
    /// <param name="file">Where to.</param>
    /// <param name="frozen">What. The share is the operation's until the result.</param>
    /// <param name="offset">Byte position in the file, or <see cref="CurrentPosition"/>.</param>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<FrozenResult> Write(RingFile file, FrozenBuffer frozen, ulong offset = CurrentPosition)
    {
        CheckFile(file);
        FrozenBuffer taken = frozen.Take();
        return Start<FrozenEvent, FrozenResult>(new FrozenEvent(IoUringOp.Write, taken, offset, 0, BufferIndexOf(taken.Block)), file);
    }

    /// <summary>Writes the written bytes of a buffer that stays mutable (pwrite(2)).</summary>
    /// <inheritdoc cref="Read" path="/param"/>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<BufferResult> Write(RingFile file, SlabBuffer buffer, ulong offset = CurrentPosition)
    {
        CheckFile(file);
        LentBuffer lent = buffer.Lend();
        return Start<DrainEvent, BufferResult>(new DrainEvent(IoUringOp.Write, lent, offset, 0, BufferIndexOf(lent.Block)), file);
    }

    /// <summary>Reads behind the written bytes of several buffers, one after the other (preadv(2)).</summary>
    /// <param name="file">Where from.</param>
    /// <param name="buffers">Where to, 1 to <see cref="IoVectors.CountMax"/>. They are the operation's until the result.</param>
    /// <param name="offset">Byte position in the file, or <see cref="CurrentPosition"/>.</param>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<BuffersResult> ReadV(RingFile file, ReadOnlySpan<SlabBuffer> buffers, ulong offset = CurrentPosition)
    {
        CheckFile(file);
        LentBuffer[] lent = Lend(buffers, out IoVectors vectors);
        return Start<FillVectorEvent, BuffersResult>(new FillVectorEvent(lent, vectors, offset), file);
    }

    /// <summary>
    /// Reads into pieces of memory that are the caller's, such as a guest's (preadv(2)). The list and the memory stay as they are until the
    /// operation is over, abandoned or not: what may be given up needs buffers that the operation owns.
    /// </summary>
    /// <param name="file">Where from.</param>
    /// <param name="offset">Byte position in the file, or <see cref="CurrentPosition"/>.</param>
    /// <param name="vectors">Where to, 1 piece or more.</param>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<RingResult> ReadV(RingFile file, ulong offset, IoVectors vectors) =>
        StartVectored(Vectored(offset, vectors, IoUringOp.ReadV, flags: 0), vectors, file);

    /// <summary>
    /// Writes pieces of memory that are the caller's (pwritev(2)), under the conditions of <see cref="ReadV(RingFile, ulong, IoVectors)"/>.
    /// </summary>
    /// <param name="file">Where to.</param>
    /// <param name="offset">Byte position in the file, or <see cref="CurrentPosition"/>.</param>
    /// <param name="vectors">Where from, 1 piece or more.</param>
    /// <param name="durable">Complete only when the data has reached the disk (RWF_DSYNC).</param>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<RingResult> WriteV(RingFile file, ulong offset, IoVectors vectors, bool durable = false) =>
        StartVectored(Vectored(offset, vectors, IoUringOp.WriteV, durable ? WriteDurably : 0), vectors, file);

    /// <summary>
    /// Writes several frozen buffers, one after the other (pwritev(2)). Fewer bytes may go out: see <see cref="WriteAll"/>.
    /// </summary>
    /// <param name="file">Where to.</param>
    /// <param name="frozen">What, 1 to <see cref="IoVectors.CountMax"/>. The shares are the operation's until the result.</param>
    /// <param name="offset">Byte position in the file, or <see cref="CurrentPosition"/>.</param>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<FrozenBuffersResult> WriteV(RingFile file, ReadOnlySpan<FrozenBuffer> frozen, ulong offset = CurrentPosition)
    {
        CheckFile(file);
        FrozenBuffer[] taken = Take(frozen, out IoVectors vectors);
        return Start<FrozenVectorEvent, FrozenBuffersResult>(new FrozenVectorEvent(taken, vectors, offset), file);
    }

    /// <summary>Has what was written reach the disk (fsync(2), fdatasync(2)).</summary>
    /// <inheritdoc cref="Fsync(RingRequest, RingFile, bool)" path="/param"/>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<RingResult> Fsync(RingFile file, bool dataOnly = false) =>
        StartPlain(new IoUringEntry { Op = IoUringOp.Fsync, OpFlags = dataOnly ? FsyncDataOnly : 0 }, file);

    /// <summary>Allocates, punches or zeroes a range of a file (fallocate(2)).</summary>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<RingResult> Fallocate(RingFile file, FallocateMode mode, ulong offset, ulong length) =>
        StartPlain(new IoUringEntry { Op = IoUringOp.Fallocate, Offset = offset, Address = length, Length = (uint)mode }, file);

    /// <summary>Begins an operation of one's own.</summary>
    /// <param name="ringEvent">The operation. What it holds is the ring's until the result.</param>
    /// <param name="file">What it is on; null for one that is on no file, or that names its descriptor itself.</param>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<TResult> Begin<TEvent, TResult>(in TEvent ringEvent, RingFile? file = null)
        where TEvent : struct, IRingEvent<TResult>
    {
        if (file is null) CheckUsable(); else CheckFile(file);
        return Start<CustomEvent<TEvent, TResult>, TResult>(new CustomEvent<TEvent, TResult>(ringEvent), file);
    }

    private RingOperation<BufferResult> Fill(IoUringOp operation, RingFile file, SlabBuffer buffer, ulong offset, int? count, uint flags)
    {
        CheckFile(file);
        int room = buffer.Capacity - buffer.Written;
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)(count ?? room), (uint)room, nameof(count));
        LentBuffer lent = buffer.Lend();
        int index = operation == IoUringOp.Read ? BufferIndexOf(lent.Block) : SlabPage.NotRegistered;
        return Start<FillEvent, BufferResult>(new FillEvent(operation, lent, count ?? room, offset, flags, index), file);
    }

    /// <summary>Lends all buffers or, when one is refused, none: then every handle is as good as before.</summary>
    private static LentBuffer[] Lend(ReadOnlySpan<SlabBuffer> buffers, out IoVectors vectors)
    {
        vectors = new IoVectors(buffers.Length);
        LentBuffer[] lent = new LentBuffer[buffers.Length];
        int count = 0;
        try
        {
            for (; count < lent.Length; count++)
            {
                lent[count] = buffers[count].Lend();
                vectors.Add(lent[count].RoomAddress, lent[count].RoomBytes);
            }
        }
        catch
        {
            while (count-- > 0) lent[count].UndoLend();
            throw;
        }
        return lent;
    }

    /// <summary>Takes all shares or, when one is refused, none: then every handle is as good as before.</summary>
    private static FrozenBuffer[] Take(ReadOnlySpan<FrozenBuffer> frozen, out IoVectors vectors)
    {
        vectors = new IoVectors(frozen.Length);
        FrozenBuffer[] taken = new FrozenBuffer[frozen.Length];
        int count = 0;
        try
        {
            for (; count < taken.Length; count++)
            {
                taken[count] = frozen[count].Take();
                vectors.Add(taken[count].Address, taken[count].Length);
            }
        }
        catch
        {
            while (count-- > 0) taken[count].UndoTake();
            throw;
        }
        return taken;
    }

    private RingOperation<RingResult> StartVectored(in IoUringEntry entry, IoVectors vectors, RingFile file)
    {
        CheckFile(file);
        return Start<VectoredEvent, RingResult>(new VectoredEvent(entry, vectors), file);
    }

    private RingOperation<RingResult> StartPlain(in IoUringEntry entry, RingFile? file)
    {
        if (file is not null) CheckFile(file);
        return Start<PlainEvent, RingResult>(new PlainEvent(entry), file);
    }

    /// <summary>Before buffers change hands: nothing below may fail.</summary>
    private void CheckFile(RingFile file)
    {
        ArgumentNullException.ThrowIfNull(file);
        CheckUsable();
        file.ThrowIfDisposed();
    }

    private RingOperation<TResult> Start<TEvent, TResult>(in TEvent ringEvent, RingFile? file) where TEvent : struct, IBuiltInEvent<TResult>
    {
        OperationCell<TEvent, TResult> cell = OperationCell<TEvent, TResult>.Rent(this, ringEvent);
        Begin(cell, file);
        RingOperation<TResult> operation = new(cell, cell.Generation);
        if (ringEvent.IsEager) Flush();
        return operation;
    }
}
