using System.Buffers.Binary;
using Vmm.Events.Buffers;
using Vmm.Events.Native;

namespace Vmm.Events.Rings;

/// <summary>Operations that wait: for time and for readiness.</summary>
public sealed partial class IoRing
{
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
        if (_chainLength <= 0 || _lastHeld!.Entry.Op == IoUringOp.LinkTimeout)
            throw new InvalidOperationException(
                "a time limit stands in a chain, behind the operation that it limits: open one and begin that first");
        return StartTimed(IoUringOp.LinkTimeout, time);
    }

    private RingOperation<RingResult> StartTimed(IoUringOp operation, TimeSpan time)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(time, TimeSpan.Zero);
        Span<byte> spec = stackalloc byte[16];
        BinaryPrimitives.WriteInt64LittleEndian(spec, time.Ticks / TimeSpan.TicksPerSecond);
        BinaryPrimitives.WriteInt64LittleEndian(spec[8..], time.Ticks % TimeSpan.TicksPerSecond * TimeSpan.NanosecondsPerTick);
        LentBuffer lent = LendScratch(spec);
        IoUringEntry entry = new() { Op = operation, Fd = -1, Address = (ulong)lent.Address, Length = 1 };
        return Start<ScratchEvent, RingResult>(new ScratchEvent(entry, lent, isEager: false), null);
    }
}
