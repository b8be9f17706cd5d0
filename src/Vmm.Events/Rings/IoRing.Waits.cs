using System.Net;
using System.Net.Sockets;
using Vmm.Events.Buffers;

namespace Vmm.Events.Rings;

/// <summary>Operations that wait for others: on sockets, for readiness and for time; and how an operation that is awaited starts.</summary>
public sealed partial class IoRing
{
    private const uint PollBits = 0x2007; // POLLIN, POLLPRI, POLLOUT, POLLRDHUP

    /// <summary>Connects a socket (connect(2)). Handed over at once: a handshake takes its time.</summary>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<RingResult> Connect(RingFile socket, EndPoint peer)
    {
        ArgumentNullException.ThrowIfNull(peer);
        CheckFile(socket);
        SocketAddress address = peer.Serialize();
        LentBuffer lent = Scratch.LendBytes(address.Buffer.Span[..address.Size]);
        IoUringEntry entry = new() { Op = IoUringOp.Connect, Address = (ulong)lent.Address, Offset = (ulong)address.Size };
        return Start<HoldingEvent, RingResult>(new HoldingEvent(entry, lent, isEager: true), socket);
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

    /// <summary>Receives behind the written bytes of a buffer (recv(2)).</summary>
    /// <inheritdoc cref="Read" path="/param"/>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<BufferResult> Receive(RingFile file, SlabBuffer buffer, int? count = null) =>
        Fill(IoUringOp.Recv, file, buffer, 0, count, flags: 0);

    /// <summary>Sends frozen bytes (send(2)). A peer that is gone is <see cref="Errno.BrokenPipe"/>, never a signal.</summary>
    /// <inheritdoc cref="Write(RingFile, FrozenBuffer, ulong)" path="/param"/>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<FrozenResult> Send(RingFile file, FrozenBuffer frozen)
    {
        CheckFile(file);
        return Start<FrozenEvent, FrozenResult>(new FrozenEvent(IoUringOp.Send, frozen.Take(), 0,
            Libc.MSG_NOSIGNAL, SlabPage.NotRegistered), file);
    }

    /// <summary>Ends one or both directions of a connection (shutdown(2)).</summary>
    /// <param name="file">The socket.</param>
    /// <param name="how">Which directions.</param>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<RingResult> Shutdown(RingFile file, SocketShutdown how) =>
        StartPlain(new IoUringEntry { Op = IoUringOp.Shutdown, Length = (uint)how }, file);

    /// <summary>Sends bytes and descriptors over a Unix socket (sendmsg(2), SCM_RIGHTS). The descriptors stay the caller's.</summary>
    /// <param name="socket">The socket.</param>
    /// <param name="data">At least one byte. The share is the operation's until the result.</param>
    /// <param name="descriptors">At most 64.</param>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<FrozenResult> SendMessage(RingFile socket, FrozenBuffer data, params OwnedFd[] descriptors)
    {
        ArgumentNullException.ThrowIfNull(descriptors);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(descriptors.Length, MessageLayout.DescriptorsMax, nameof(descriptors));
        CheckFile(socket);
        FrozenBuffer taken = data.Take();
        int held = 0;
        try
        {
            Span<int> numbers = stackalloc int[descriptors.Length];
            for (; held < descriptors.Length; held++) numbers[held] = Hold(descriptors[held]);
            LentBuffer scratch = MessageLayout.Write(Scratch, taken.Address, taken.Length, numbers, descriptors.Length);
            return Start<SendMessageEvent, FrozenResult>(new SendMessageEvent(scratch, taken, descriptors), socket);
        }
        catch
        {
            // Nothing was begun: what was handed in is the caller's as before.
            while (held-- > 0) descriptors[held].DangerousRelease();
            taken.UndoTake();
            throw;
        }

        static int Hold(OwnedFd descriptor)
        {
            ArgumentNullException.ThrowIfNull(descriptor, nameof(descriptors));
            bool isHeld = false;
            descriptor.DangerousAddRef(ref isHeld);
            return (int)descriptor.DangerousGetHandle();
        }
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
        LentBuffer scratch;
        try
        {
            scratch = MessageLayout.Write(Scratch, lent.RoomAddress, lent.RoomBytes, [], descriptorsMax);
        }
        catch
        {
            lent.UndoLend();
            throw;
        }
        return Start<ReceiveMessageEvent, MessageResult>(new ReceiveMessageEvent(scratch, lent), socket);
    }

    /// <summary>Waits until a descriptor is ready (poll(2)).</summary>
    /// <param name="file">Which.</param>
    /// <param name="interest">What for: readable, writable, read hang-up, priority. Triggering and one-shot mean nothing here.</param>
    /// <returns>The poll bits that are set (see <see cref="ReadinessOf"/>).</returns>
    /// <inheritdoc cref="Read" path="/exception"/>
    public RingOperation<RingResult> Poll(RingFile file, Interest interest) =>
        StartPlain(new IoUringEntry { Op = IoUringOp.PollAdd, OpFlags = interest.Bits & PollBits }, file);

    /// <summary>What the result of a <see cref="Poll"/> says.</summary>
    public static Readiness ReadinessOf(RingResult polled) => new((uint)polled.Count);

    /// <summary>Ends after a time on the monotonic clock, with <see cref="Errno.TimerExpired"/>, or when it is cancelled.</summary>
    public RingOperation<RingResult> After(TimeSpan time)
    {
        CheckUsable();
        return StartTimed(IoUringOp.Timeout, time);
    }

    /// <summary>
    /// Gives the operation before it in an open chain a time limit (IORING_OP_LINK_TIMEOUT), which begins when that operation does. When
    /// the time is up the operation is cancelled, and with it the rest of the chain.
    /// </summary>
    /// <param name="time">How long it may take, on the monotonic clock.</param>
    /// <returns>
    /// <see cref="Errno.TimerExpired"/> if the time was up and it cancelled the operation, <see cref="Errno.Already"/> if that could not be
    /// cancelled any more, <see cref="Errno.Canceled"/> if it was in time. Whether it did anything is for the operation's own result to
    /// say. Abandoned, the limit holds all the same.
    /// </returns>
    /// <exception cref="InvalidOperationException">No chain is open, or nothing that could be limited is before it.</exception>
    /// <example><c>using (ring.Chain()) { answer = ring.Receive(peer, buffer); ring.LinkTimeout(TimeSpan.FromSeconds(1)).Abandon();
    /// }</c></example>
    public RingOperation<RingResult> LinkTimeout(TimeSpan time)
    {
        CheckUsable();
        if (!_held.ChainCanBeLimited)
            throw new InvalidOperationException(
                "a time limit stands in a chain, behind the operation that it limits: open one and begin that first");
        return StartTimed(IoUringOp.LinkTimeout, time);
    }

    private RingOperation<RingResult> StartTimed(IoUringOp operation, TimeSpan time)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(time, TimeSpan.Zero);
        LentBuffer lent = Scratch.LendTime(time);
        IoUringEntry entry = new() { Op = operation, Fd = -1, Address = (ulong)lent.Address, Length = 1 };
        return Start<HoldingEvent, RingResult>(new HoldingEvent(entry, lent), null);
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
