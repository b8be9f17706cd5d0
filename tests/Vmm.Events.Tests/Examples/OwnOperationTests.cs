using Vmm.Events.Buffers;
using Vmm.Events.Rings;
using Vmm.Events.Tests.Rings;
using Vmm.Examples.OwnOperation;

namespace Vmm.Events.Tests.Examples;

/// <summary>Operations that the ring does not have, written against the public API.</summary>
public sealed class OwnOperationTests
{
    public static TheoryData<RingEngine> Engines => RingTable.Engines;

    [Theory, MemberData(nameof(Engines))]
    public void An_operation_of_ones_own_runs_on_a_file_in_a_chain_with_others(RingEngine engine)
    {
        using RingTable table = new(engine);
        using OwnedFd fd = RingTable.Open(table.NewFile(new byte[8192]));
        table.Run(async ring =>
        {
            using RingFile file = ring.Register(fd);
            RingOperation<RingResult> advising;
            RingOperation<RingResult> syncing;
            using (ring.Chain())
            {
                syncing = ring.Fsync(file);
                advising = ring.Begin<FileAdvice, RingResult>(new FileAdvice(Advice.DontNeed, 0, 8192), file);
            }
            Assert.Equal(0, (await syncing).Value);
            // Threads stand in for what they know only.
            Assert.Equal(engine == RingEngine.Kernel ? Errno.None : Errno.Invalid, (await advising).Error);
            RingResult refused = await ring.Begin<FileAdvice, RingResult>(new FileAdvice((Advice)77, 0, 1), file);
            Assert.Equal(Errno.Invalid, refused.Error);
        });
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_buffer_that_is_lent_comes_back_with_what_the_kernel_wrote(RingEngine engine)
    {
        using RingTable table = new(engine);
        (OwnedFd left, OwnedFd right) = RingTable.SocketPair();
        table.Run(async ring =>
        {
            using RingFile here = ring.Register(left), there = ring.Register(right);
            (await ring.Send(there, table.Frozen("hello"u8))).Buffer.Release();
            SlabBuffer mine = table.Pool.Rent(512);
            BufferResult seen = await ring.Begin<PeekOperation, BufferResult>(new PeekOperation(mine), here);
            Assert.Equal("hello"u8, seen.Buffer.Bytes);
            Assert.Throws<ObjectDisposedException>(() => mine.Written);
            seen.Buffer.Clear();
            BufferResult received = await ring.Receive(here, seen.Buffer);
            Assert.Equal("hello"u8, received.Buffer.Bytes);
            received.Buffer.Release();
        });
        left.Dispose();
        right.Dispose();
    }

    [Theory, MemberData(nameof(Engines))]
    public void An_abandoned_operation_of_ones_own_keeps_its_buffer_until_its_completion(RingEngine engine)
    {
        using RingTable table = new(engine);
        (OwnedFd left, OwnedFd right) = RingTable.SocketPair();
        using RingFile here = table.Ring.Register(left);
        RingOperation<BufferResult> peeking = table.Ring.Begin<PeekOperation, BufferResult>(new PeekOperation(table.Pool.Rent(512)), here);
        // Eager: it is with the kernel already.
        Assert.Equal(1, table.Ring.Statistics.Submissions);
        peeking.Abandon();
        Assert.Equal(1, table.Pool.Statistics.Outstanding);
        table.RunUntil(() => table.Ring.InFlight == 0);
        Assert.Equal(0, table.Pool.Statistics.Outstanding);
        left.Dispose();
        right.Dispose();
    }

    [Theory, MemberData(nameof(Engines))]
    public void What_a_cancellation_holds_is_released_once_when_the_completion_has_arrived(RingEngine engine)
    {
        using RingTable table = new(engine);
        (OwnedFd left, OwnedFd right) = RingTable.SocketPair();
        using RingFile here = table.Ring.Register(left);
        Disposed held = new();
        FrozenBuffer share = table.Frozen([1]);
        Holding holding = new(table.Pool.Rent(512).Lend(), share.Take(), held);
        RingOperation<RingResult> operation = table.Ring.Begin<Holding, RingResult>(holding, here);
        operation.Abandon();
        Assert.Equal((2, 0), (table.Pool.Statistics.Outstanding, held.Times));
        table.RunUntil(() => table.Ring.InFlight == 0);
        Assert.Equal((0, 1), (table.Pool.Statistics.Outstanding, held.Times));
        Assert.Throws<InvalidOperationException>(() => RingCancellation.None.With(held).With(held));
        left.Dispose();
        right.Dispose();
    }

    private sealed class Disposed : IDisposable
    {
        internal int Times { get; private set; }

        public void Dispose() => Times++;
    }

    private readonly struct Holding(LentBuffer lent, FrozenBuffer share, IDisposable held) : IRingEvent<RingResult>
    {
        public bool IsEager => false;

        public unsafe void Prepare(RingEntry* entry)
        {
            // SAFETY: the address is that of a lent buffer, with its length.
            entry->Operation = 27;
            entry->Address = (ulong)lent.RoomAddress;
            entry->Length = (uint)lent.RoomBytes;
        }

        public RingResult Complete(int result) => throw new InvalidOperationException("it was abandoned");

        public RingCancellation Cancel() => RingCancellation.None.With(lent).With(share).With(held);
    }
}
