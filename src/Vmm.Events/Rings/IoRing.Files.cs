using System.Buffers.Binary;
using Vmm.Events.Buffers;
using Vmm.Events.Tasks;

namespace Vmm.Events.Rings;

/// <summary>
/// Operations on files: in their raw form, on requests and memory that the caller owns; and to be awaited, where buffers go in and come
/// back with the result.
/// </summary>
public sealed partial class IoRing
{
    private const uint WriteDurably = 2; // RWF_DSYNC
    private const uint DontCache = 0x80; // RWF_DONTCACHE
    private const uint FsyncDataOnly = 1; // IORING_FSYNC_DATASYNC

    /// <summary>For an offset: the file's own position, and what has none (pipes, sockets).</summary>
    public const ulong CurrentPosition = ulong.MaxValue;

    /// <summary>Reads into pieces of memory (preadv(2)). The list and the memory stay as they are until the request completes.</summary>
    /// <param name="request">
    /// Completes with the bytes read; fewer than asked for at the end of the file, and now and then before it.
    /// </param>
    /// <param name="file">Where from.</param>
    /// <param name="offset">Byte position in the file.</param>
    /// <param name="vectors">Where to, 1 piece or more.</param>
    /// <param name="dontCache">Leave nothing in the page cache that was not there before (RWF_DONTCACHE).</param>
    /// <param name="memory">Of this ring: where all pieces lie in one GiB of it, the kernel does not look for their pages.</param>
    /// <exception cref="InvalidOperationException">The request is in flight, or this is not the reactor's thread.</exception>
    /// <exception cref="ObjectDisposedException">The file or the ring is disposed.</exception>
    public void ReadV(
        RingRequest request, RingFile file, ulong offset, IoVectors vectors, bool dontCache = false, RingMemory? memory = null) =>
        BeginVectored(request, file, offset, vectors, IoUringOp.ReadV, dontCache ? DontCache : 0, memory);

    /// <summary>Writes pieces of memory (pwritev(2)). The list and the memory stay as they are until the request completes.</summary>
    /// <param name="request">Completes with the bytes written; fewer than asked for when the disk is full.</param>
    /// <param name="file">Where to.</param>
    /// <param name="offset">Byte position in the file.</param>
    /// <param name="vectors">Where from, 1 piece or more.</param>
    /// <param name="durable">Complete only when the data has reached the disk (RWF_DSYNC).</param>
    /// <param name="dontCache">Leave nothing in the page cache that was not there before (RWF_DONTCACHE).</param>
    /// <param name="memory">Of this ring: where all pieces lie in one GiB of it, the kernel does not look for their pages.</param>
    /// <inheritdoc cref="ReadV(RingRequest, RingFile, ulong, IoVectors, bool, RingMemory)" path="/exception"/>
    public void WriteV(RingRequest request, RingFile file, ulong offset, IoVectors vectors, bool durable = false, bool dontCache = false,
        RingMemory? memory = null) =>
        BeginVectored(request, file, offset, vectors, IoUringOp.WriteV, (durable ? WriteDurably : 0) | (dontCache ? DontCache : 0), memory);

    /// <summary>Has what was written reach the disk (fsync(2), fdatasync(2)). Only writes that completed before are covered.</summary>
    /// <param name="request">Completes with 0.</param>
    /// <param name="file">Which file.</param>
    /// <param name="dataOnly">Leave out metadata that no later read needs.</param>
    /// <inheritdoc cref="ReadV(RingRequest, RingFile, ulong, IoVectors, bool, RingMemory)" path="/exception"/>
    public void Fsync(RingRequest request, RingFile file, bool dataOnly)
    {
        CheckBeginnable(request);
        ArgumentNullException.ThrowIfNull(file);
        request.Entry = new IoUringEntry { Op = IoUringOp.Fsync, OpFlags = dataOnly ? FsyncDataOnly : 0 };
        BeginChecked(request, file);
    }

    /// <summary>Allocates, punches or zeroes a range of a file (fallocate(2)).</summary>
    /// <param name="request">Completes with 0.</param>
    /// <param name="file">Which file.</param>
    /// <param name="mode">What to do with the range.</param>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes, 1 or more.</param>
    /// <inheritdoc cref="ReadV(RingRequest, RingFile, ulong, IoVectors, bool, RingMemory)" path="/exception"/>
    public void Fallocate(RingRequest request, RingFile file, FallocateMode mode, ulong offset, ulong length)
    {
        CheckBeginnable(request);
        ArgumentNullException.ThrowIfNull(file);
        request.Entry = new IoUringEntry { Op = IoUringOp.Fallocate, Offset = offset, Address = length, Length = (uint)mode };
        BeginChecked(request, file);
    }

    private void BeginVectored(
        RingRequest request, RingFile file, ulong offset, IoVectors vectors, IoUringOp operation, uint flags, RingMemory? memory)
    {
        CheckBeginnable(request);
        ArgumentNullException.ThrowIfNull(file);
        request.Entry = Vectored(offset, vectors, operation, flags);
        memory?.UseFor(ref request.Entry, vectors);
        BeginChecked(request, file);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static IoUringEntry Vectored(ulong offset, IoVectors vectors, IoUringOp operation, uint flags)
    {
        ArgumentNullException.ThrowIfNull(vectors);
        ArgumentOutOfRangeException.ThrowIfZero(vectors.Count, nameof(vectors));
        // One piece needs no list: the kernel is spared the copy of it.
        bool isOne = vectors.Count == 1;
        return new IoUringEntry
        {
            Op = !isOne ? operation : operation == IoUringOp.ReadV ? IoUringOp.Read : IoUringOp.Write,
            Offset = offset,
            Address = (ulong)(isOne ? vectors.First.Address : vectors.Address),
            Length = isOne ? (uint)vectors.First.Length : (uint)vectors.Count,
            OpFlags = flags,
        };
    }

    /// <summary>Reads behind the written bytes of a buffer (pread(2)).</summary>
    /// <param name="file">Where from.</param>
    /// <param name="buffer">Where to. It is the operation's until the result.</param>
    /// <param name="offset">Byte position in the file, or <see cref="CurrentPosition"/>.</param>
    /// <param name="count">Most bytes; null for all the room there is.</param>
    /// <inheritdoc cref="ReadV(RingRequest, RingFile, ulong, IoVectors, bool, RingMemory)" path="/exception"/>
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
        return Start<FrozenEvent, FrozenResult>(new FrozenEvent(IoUringOp.Write, taken, offset, 0, _pages.IndexOf(taken.Block)), file);
    }

    /// <summary>Writes the written bytes of a buffer that stays mutable (pwrite(2)).</summary>
    /// <inheritdoc cref="Read" path="/param"/>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<BufferResult> Write(RingFile file, SlabBuffer buffer, ulong offset = CurrentPosition)
    {
        CheckFile(file);
        LentBuffer lent = buffer.Lend();
        return Start<DrainEvent, BufferResult>(new DrainEvent(IoUringOp.Write, lent, offset, 0, _pages.IndexOf(lent.Block)), file);
    }

    /// <summary>Reads behind the written bytes of several buffers, one after the other (preadv(2)).</summary>
    /// <param name="file">Where from.</param>
    /// <param name="buffers">Where to, 1 to <see cref="IoVectors.CountMax"/>. They are the operation's until the result.</param>
    /// <param name="offset">Byte position in the file, or <see cref="CurrentPosition"/>.</param>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<BuffersResult> ReadV(RingFile file, ReadOnlySpan<SlabBuffer> buffers, ulong offset = CurrentPosition)
    {
        CheckFile(file);
        LentBuffer[] lent = OwnedPieces.Lend(buffers, out IoVectors vectors);
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
        FrozenBuffer[] taken = OwnedPieces.Take(frozen, out IoVectors vectors);
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
        int index = operation == IoUringOp.Read ? _pages.IndexOf(lent.Block) : SlabPage.NotRegistered;
        return Start<FillEvent, BufferResult>(new FillEvent(operation, lent, count ?? room, offset, flags, index), file);
    }

    private RingOperation<RingResult> StartVectored(in IoUringEntry entry, IoVectors vectors, RingFile file)
    {
        CheckFile(file);
        return Start<VectoredEvent, RingResult>(new VectoredEvent(entry, vectors), file);
    }

    /// <summary>Makes a file known to the ring, and in the kernel's table if that has room.</summary>
    /// <exception cref="ObjectDisposedException">The file or the ring is closed.</exception>
    public RingFile Register(OwnedFd file)
    {
        ArgumentNullException.ThrowIfNull(file);
        CheckUsable();
        return new RingFile(this, file, _files.Add(file.Number));
    }

    /// <summary>
    /// Puts another descriptor behind a registered file (IORING_OP_FILES_UPDATE), in its place among other operations: those that a chain
    /// has behind it go to the new one. The file holds the new descriptor from now on, and lets go of the old one when no operation on it
    /// is in flight.
    /// </summary>
    /// <param name="file">Which file.</param>
    /// <param name="replacement">What is to be behind it.</param>
    /// <returns>1, or why it could not be done: the old one stays.</returns>
    /// <exception cref="InvalidOperationException">
    /// The file has no place in the ring's table, or this is not the reactor's thread.
    /// </exception>
    /// <exception cref="ObjectDisposedException">The file, the descriptor or the ring is closed.</exception>
    public RingOperation<RingResult> UpdateFile(RingFile file, OwnedFd replacement)
    {
        ArgumentNullException.ThrowIfNull(replacement);
        CheckFile(file);
        if (!file.IsRegistered)
            throw new InvalidOperationException($"the file has no place in the ring's table: raise {nameof(RingOptions.FilesMax)}");
        HeldFile held = HeldFile.Of(file, replacement);
        LentBuffer lent;
        try
        {
            Span<byte> number = stackalloc byte[sizeof(int)];
            BinaryPrimitives.WriteInt32LittleEndian(number, held.Number);
            lent = Scratch.LendBytes(number);
        }
        catch
        {
            held.Release(-(int)Errno.Canceled);
            throw;
        }
        IoUringEntry entry = new()
        {
            Op = IoUringOp.FilesUpdate,
            Fd = -1,
            Address = (ulong)lent.Address,
            Length = 1,
            Offset = (ulong)file.Slot
        };
        return Start<HoldingEvent, RingResult>(new HoldingEvent(entry, lent, held), null);
    }

    /// <summary>Opens a file (openat(2)), close-on-exec.</summary>
    /// <param name="path">Where; a relative one from the process's directory.</param>
    /// <param name="flags">O_… flags.</param>
    /// <param name="mode">Permissions of a file that is made.</param>
    public RingOperation<DescriptorResult> Open(string path, int flags, int mode = 0x1B6)
    {
        const int CloseOnExec = 0x80000;
        CheckPath(path);
        LentBuffer lent = Scratch.LendPath(path);
        IoUringEntry entry = new()
        {
            Op = IoUringOp.OpenAt,
            Fd = Libc.AT_FDCWD,
            Address = (ulong)lent.Address,
            Length = (uint)mode,
            OpFlags = (uint)(flags | CloseOnExec),
        };
        return Start<DescriptorEvent, DescriptorResult>(new DescriptorEvent(entry, lent), null);
    }

    /// <summary>Asks what a file is (statx(2)).</summary>
    public RingOperation<StatxResult> Stat(string path)
    {
        const uint BasicStats = 0x7ff;
        CheckPath(path);
        LentBuffer lent = Scratch.LendPath(path, StatxEvent.AnswerBytes);
        IoUringEntry entry = new()
        {
            Op = IoUringOp.Statx,
            Fd = Libc.AT_FDCWD,
            Address = (ulong)(lent.Address + StatxEvent.AnswerBytes),
            Offset = (ulong)lent.Address,
            Length = BasicStats,
        };
        return Start<StatxEvent, StatxResult>(new StatxEvent(entry, lent), null);
    }

    /// <summary>Closes a descriptor. It is the kernel's from now on, whatever the result.</summary>
    public RingOperation<RingResult> Close(OwnedFd descriptor)
    {
        ArgumentNullException.ThrowIfNull(descriptor);
        CheckUsable();
        int number = descriptor.Number;
        descriptor.SetHandleAsInvalid();
        return StartPlain(new IoUringEntry { Op = IoUringOp.Close, Fd = number }, null);
    }

    /// <summary>Moves bytes between two files, one of them a pipe, inside the kernel (splice(2)).</summary>
    /// <param name="from">Where from; a registered file is used by its number.</param>
    /// <param name="fromOffset">Byte position, or <see cref="CurrentPosition"/>.</param>
    /// <param name="to">Where to.</param>
    /// <param name="toOffset">Byte position, or <see cref="CurrentPosition"/>.</param>
    /// <param name="count">Most bytes.</param>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<RingResult> Splice(RingFile from, ulong fromOffset, RingFile to, ulong toOffset, int count)
    {
        CheckFile(from);
        CheckFile(to);
        IoUringEntry entry = new()
        {
            Op = IoUringOp.Splice,
            Address = fromOffset,
            Offset = toOffset,
            Length = (uint)count,
            FileIndex = from.Number,
        };
        return Start<HoldingEvent, RingResult>(new HoldingEvent(entry, default, HeldFile.Of(from)), to);
    }

    private void CheckPath(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (path.Contains('\0', StringComparison.Ordinal)) throw new ArgumentException("a path has no zero character", nameof(path));
        CheckUsable();
    }

    internal void Forget(RingFile file)
    {
        if (_phase != Phase.Closed && file.IsRegistered) _files.Remove(file.Slot);
    }

    /// <summary>
    /// Writes several frozen buffers until all is out, however little the kernel takes at a time. It ends early with an error, with
    /// a write of nothing, or when it is aborted; the result says how much went out. After an abort that is not known: the file then says
    /// so (<see cref="RingFile.IsCut"/>), and refuses to be written after that if it is a stream.
    /// </summary>
    /// <param name="file">Where to.</param>
    /// <param name="frozen">
    /// What, 1 to <see cref="IoVectors.CountMax"/>. The shares come back with the result; an abort releases them.
    /// </param>
    /// <param name="offset">Byte position in the file, or <see cref="CurrentPosition"/> for a stream.</param>
    /// <exception cref="InvalidOperationException">
    /// An earlier write to this stream was aborted: part of a frame may be out, so that nothing can follow it.
    /// </exception>
    /// <inheritdoc cref="Read" path="/exception"/>
    public async ReactorTask<FrozenBuffersResult> WriteAll(RingFile file, FrozenBuffer[] frozen, ulong offset = CurrentPosition)
    {
        ArgumentNullException.ThrowIfNull(frozen);
        CheckFile(file);
        bool isStream = offset == CurrentPosition;
        if (isStream && file.IsCut)
            throw new InvalidOperationException(
                "a write to this stream was aborted, and part of it may be out: what is written now would not be understood. Close it");
        FrozenBuffer[] shares = OwnedPieces.Take(frozen, out IoVectors vectors);
        long asked = vectors.Bytes;
        bool isDone = false;
        try
        {
            while (true)
            {
                ulong at = isStream ? offset : offset + (ulong)(asked - vectors.Bytes);
                FrozenBuffersResult step =
                    await Start<FrozenVectorEvent, FrozenBuffersResult>(new FrozenVectorEvent(shares, vectors, at), file);
                if (step.Result.Value > 0) vectors.Advance(step.Result.Value);
                // A ring that ended meanwhile takes nothing more.
                if (vectors.Bytes != 0 && _phase == Phase.Open && step.Result.Value > 0) continue;
                isDone = true;
                return new FrozenBuffersResult(step.Result, shares, asked - vectors.Bytes, asked);
            }
        }
        finally
        {
            if (!isDone && isStream) file.IsCut = true;
        }
    }

    /// <summary>
    /// Reads behind the written bytes of a buffer until so many are there, however little comes at a time. It ends early with an error, at
    /// the end of the file or stream (<see cref="BufferResult.IsShort"/>), or when it is aborted, which releases the buffer.
    /// </summary>
    /// <param name="file">Where from.</param>
    /// <param name="buffer">Where to. It comes back with the result.</param>
    /// <param name="count">Bytes, 1 or more; there must be room for them.</param>
    /// <param name="offset">Byte position in the file, or <see cref="CurrentPosition"/> for a stream.</param>
    /// <returns>
    /// How many bytes came, or the error of the call that failed; <see cref="SlabBuffer.Written"/> counts those that came before an error.
    /// </returns>
    /// <inheritdoc cref="Read" path="/exception"/>
    public async ReactorTask<BufferResult> ReadAll(RingFile file, SlabBuffer buffer, int count, ulong offset = CurrentPosition)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        int done = 0;
        while (true)
        {
            ulong at = offset == CurrentPosition ? offset : offset + (ulong)done;
            BufferResult step = await Read(file, buffer, at, count - done);
            buffer = step.Buffer;
            if (step.Result.Value < 0) return step with { Asked = count };
            done += step.Result.Value;
            // The end of the file, all that was asked for, or a ring that takes nothing more.
            if (step.Result.Value == 0 || done == count || _phase != Phase.Open)
                return new BufferResult(new RingResult(done), buffer, count);
        }
    }
}
