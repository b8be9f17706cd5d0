using System.Buffers.Binary;
using System.Net;
using System.Text;
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
    /// <inheritdoc cref="ReadV(RingRequest, RingFile, ulong, IoVectors)" path="/exception"/>
    public RingOperation<BufferResult> Read(RingFile file, SlabBuffer buffer, ulong offset = CurrentPosition, int? count = null) =>
        Fill(IoUringOp.Read, file, buffer, offset, count, flags: 0);

    /// <summary>Receives behind the written bytes of a buffer (recv(2)).</summary>
    /// <inheritdoc cref="Read" path="/param"/>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<BufferResult> Receive(RingFile file, SlabBuffer buffer, int? count = null) =>
        Fill(IoUringOp.Recv, file, buffer, 0, count, flags: 0);

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

    /// <summary>Sends frozen bytes (send(2)). A peer that is gone is <see cref="Errno.BrokenPipe"/>, never a signal.</summary>
    /// <inheritdoc cref="Write(RingFile, FrozenBuffer, ulong)" path="/param"/>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<FrozenResult> Send(RingFile file, FrozenBuffer frozen)
    {
        CheckFile(file);
        return Start<FrozenEvent, FrozenResult>(new FrozenEvent(IoUringOp.Send, frozen.Take(), 0, Libc.MSG_NOSIGNAL, SlabPage.NotRegistered), file);
    }

    /// <summary>Reads behind the written bytes of several buffers, one after the other (preadv(2)).</summary>
    /// <param name="file">Where from.</param>
    /// <param name="buffers">Where to, 1 to <see cref="IoVectors.CountMax"/>. They are the operation's until the result.</param>
    /// <param name="offset">Byte position in the file, or <see cref="CurrentPosition"/>.</param>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<BuffersResult> ReadV(RingFile file, ReadOnlySpan<SlabBuffer> buffers, ulong offset = CurrentPosition)
    {
        CheckFile(file);
        IoVectors vectors = new(buffers.Length);
        LentBuffer[] lent = new LentBuffer[buffers.Length];
        for (int i = 0; i < lent.Length; i++)
        {
            lent[i] = buffers[i].Lend();
            vectors.Add(lent[i].RoomAddress, lent[i].RoomBytes);
        }
        return Start<FillVectorEvent, BuffersResult>(new FillVectorEvent(lent, vectors, offset), file);
    }

    /// <summary>Writes several frozen buffers, one after the other (pwritev(2)). Fewer bytes may go out: see <see cref="WriteAll"/>.</summary>
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

    /// <summary>Waits until a descriptor is ready (poll(2)).</summary>
    /// <param name="file">Which.</param>
    /// <param name="interest">What for: readable, writable, read hang-up, priority. Triggering and one-shot mean nothing here.</param>
    /// <returns>The poll bits that are set (see <see cref="ReadinessOf"/>).</returns>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<RingResult> Poll(RingFile file, Interest interest) =>
        StartPlain(new IoUringEntry { Op = IoUringOp.PollAdd, OpFlags = interest.Bits & PollBits }, file);

    /// <summary>What the result of a <see cref="Poll"/> says.</summary>
    public static Readiness ReadinessOf(RingResult polled) => new((uint)polled.Count);

    /// <summary>Ends one or both directions of a connection (shutdown(2)).</summary>
    /// <param name="file">The socket.</param>
    /// <param name="how">Which directions.</param>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<RingResult> Shutdown(RingFile file, System.Net.Sockets.SocketShutdown how) =>
        StartPlain(new IoUringEntry { Op = IoUringOp.Shutdown, Length = (uint)how }, file);

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
        ArgumentNullException.ThrowIfNull(from);
        return StartPlain(new IoUringEntry
        {
            Op = IoUringOp.Splice,
            Address = fromOffset,
            Offset = toOffset,
            Length = (uint)count,
            FileIndex = from.Number,
        }, to);
    }

    /// <summary>Ends after a time on the monotonic clock, with ETIME (62), or when it is cancelled.</summary>
    public RingOperation<RingResult> After(TimeSpan time)
    {
        CheckUsable();
        SlabBuffer scratch = Scratch.Rent(16);
        Span<byte> spec = stackalloc byte[16];
        BinaryPrimitives.WriteInt64LittleEndian(spec, time.Ticks / TimeSpan.TicksPerSecond);
        BinaryPrimitives.WriteInt64LittleEndian(spec[8..], time.Ticks % TimeSpan.TicksPerSecond * TimeSpan.NanosecondsPerTick);
        scratch.Append(spec);
        LentBuffer lent = scratch.Lend();
        IoUringEntry entry = new() { Op = IoUringOp.Timeout, Fd = -1, Address = (ulong)lent.Address, Length = 1 };
        return Start<ScratchEvent, RingResult>(new ScratchEvent(entry, lent, isEager: false), null);
    }

    /// <summary>Opens a file (openat(2)), close-on-exec.</summary>
    /// <param name="path">Where; a relative one from the process's directory.</param>
    /// <param name="flags">O_… flags.</param>
    /// <param name="mode">Permissions of a file that is made.</param>
    public RingOperation<DescriptorResult> Open(string path, int flags, int mode = 0x1B6)
    {
        const int CloseOnExec = 0x80000;
        LentBuffer lent = PathScratch(path, 0);
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
        LentBuffer lent = PathScratch(path, StatxEvent.AnswerBytes);
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

    /// <summary>Connects a socket (connect(2)). Handed over at once: a handshake takes its time.</summary>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<RingResult> Connect(RingFile socket, EndPoint peer)
    {
        ArgumentNullException.ThrowIfNull(peer);
        CheckFile(socket);
        SocketAddress address = peer.Serialize();
        SlabBuffer scratch = Scratch.Rent(address.Size);
        scratch.Append(address.Buffer.Span[..address.Size]);
        LentBuffer lent = scratch.Lend();
        IoUringEntry entry = new() { Op = IoUringOp.Connect, Address = (ulong)lent.Address, Offset = (ulong)address.Size };
        return Start<ScratchEvent, RingResult>(new ScratchEvent(entry, lent, isEager: true), socket);
    }

    /// <summary>Takes the next connection of a listening socket (accept4(2)), close-on-exec.</summary>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<DescriptorResult> Accept(RingFile socket)
    {
        const uint CloseOnExec = 0x80000;
        CheckFile(socket);
        return Start<DescriptorEvent, DescriptorResult>(
            new DescriptorEvent(new IoUringEntry { Op = IoUringOp.Accept, OpFlags = CloseOnExec }, default), socket);
    }

    /// <summary>Sends bytes and descriptors over a Unix socket (sendmsg(2), SCM_RIGHTS). The descriptors stay the caller's.</summary>
    /// <param name="socket">The socket.</param>
    /// <param name="data">At least one byte. The share is the operation's until the result.</param>
    /// <param name="descriptors">At most 64.</param>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<SentMessageResult> SendMessage(RingFile socket, FrozenBuffer data, params OwnedFd[] descriptors)
    {
        ArgumentNullException.ThrowIfNull(descriptors);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(descriptors.Length, MessageLayout.DescriptorsMax, nameof(descriptors));
        CheckFile(socket);
        foreach (OwnedFd descriptor in descriptors) ObjectDisposedException.ThrowIf(descriptor.IsClosed, descriptor);
        FrozenBuffer taken = data.Take();
        Span<int> numbers = stackalloc int[descriptors.Length];
        for (int i = 0; i < descriptors.Length; i++)
        {
            bool held = false;
            descriptors[i].DangerousAddRef(ref held);
            numbers[i] = (int)descriptors[i].DangerousGetHandle();
        }
        LentBuffer scratch = MessageLayout.Write(Scratch, taken.Address, taken.Length, numbers, descriptors.Length);
        return Start<SendMessageEvent, SentMessageResult>(new SendMessageEvent(scratch, taken, descriptors), socket);
    }

    /// <summary>Receives bytes and descriptors from a Unix socket (recvmsg(2), SCM_RIGHTS), behind the written bytes of a buffer.</summary>
    /// <param name="socket">The socket.</param>
    /// <param name="buffer">Where to. It is the operation's until the result.</param>
    /// <param name="descriptorsMax">Room for descriptors, at most 64.</param>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<MessageResult> ReceiveMessage(RingFile socket, SlabBuffer buffer, int descriptorsMax = 0)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)descriptorsMax, (uint)MessageLayout.DescriptorsMax, nameof(descriptorsMax));
        CheckFile(socket);
        LentBuffer lent = buffer.Lend();
        LentBuffer scratch = MessageLayout.Write(Scratch, lent.RoomAddress, lent.RoomBytes, [], descriptorsMax);
        return Start<ReceiveMessageEvent, MessageResult>(new ReceiveMessageEvent(scratch, lent), socket);
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

    private LentBuffer PathScratch(string path, int answerBytes)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        CheckUsable();
        SlabBuffer scratch = Scratch.Rent(answerBytes + Encoding.UTF8.GetMaxByteCount(path.Length) + 1);
        Span<byte> room = scratch.Room;
        int length = Encoding.UTF8.GetBytes(path, room[answerBytes..]);
        scratch.Advance(answerBytes + length + 1);
        return scratch.Lend();
    }

    private static FrozenBuffer[] Take(ReadOnlySpan<FrozenBuffer> frozen, out IoVectors vectors)
    {
        vectors = new IoVectors(frozen.Length);
        FrozenBuffer[] taken = new FrozenBuffer[frozen.Length];
        for (int i = 0; i < taken.Length; i++)
        {
            taken[i] = frozen[i].Take();
            vectors.Add(taken[i].Address, taken[i].Length);
        }
        return taken;
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

    private RingOperation<TResult> Start<TEvent, TResult>(in TEvent ringEvent, RingFile? file) where TEvent : struct, IRingEvent<TResult>
    {
        OperationCell<TEvent, TResult> cell = OperationCell<TEvent, TResult>.Rent(this, ringEvent);
        Begin(cell, file);
        RingOperation<TResult> operation = new(cell, cell.Generation);
        if (ringEvent.IsEager) Flush();
        return operation;
    }
}
