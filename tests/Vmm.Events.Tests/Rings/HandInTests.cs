using Vmm.Events.Buffers;
using Vmm.Events.Rings;
using Vmm.Events.Tasks;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests.Rings;

/// <summary>An operation takes everything that is handed in or, when it is refused, nothing: every handle is as good as before.</summary>
[Collection(Alone.Name)]
public sealed class HandInTests
{
    public static TheoryData<RingEngine> Engines => RingTable.Engines;

    [Theory, MemberData(nameof(Engines))]
    public void A_vectored_read_with_one_stale_buffer_leaves_the_good_ones_to_their_owner(RingEngine engine)
    {
        using RingTable table = new(engine);
        using OwnedFd fd = RingTable.Open(table.NewFile([1, 2, 3]));
        using RingFile file = table.Ring.Register(fd);
        SlabBuffer first = table.Pool.Rent(512), stale = table.Pool.Rent(512), last = table.Pool.Rent(512);
        first.Append([7]);
        stale.Release();
        Assert.Throws<ObjectDisposedException>(() => table.Ring.ReadV(file, [first, stale, last], 0));
        Assert.Throws<ObjectDisposedException>(() => table.Ring.ReadV(file, [first, last, first], 0));
        Assert.Equal([7], first.Bytes.ToArray());
        Assert.Equal(0, last.Written);
        Assert.Equal(0, table.Ring.InFlight);
        first.Release();
        last.Release();
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_vectored_write_with_one_stale_share_leaves_the_good_ones_to_their_owner(RingEngine engine)
    {
        using RingTable table = new(engine);
        string path = table.NewFile();
        using OwnedFd fd = RingTable.Open(path);
        using RingFile file = table.Ring.Register(fd);
        FrozenBuffer first = table.Frozen([1]), stale = table.Frozen([2]), last = table.Frozen([3]);
        stale.Release();
        Assert.Throws<ObjectDisposedException>(() => table.Ring.WriteV(file, [first, stale, last], 0));
        Assert.Throws<ObjectDisposedException>(() => table.Ring.WriteV(file, [first, first], 0));
        Assert.Throws<ObjectDisposedException>(() => table.Ring.WriteV(file, [first, default], 0));
        table.Run(async ring =>
        {
            await Assert.ThrowsAsync<ObjectDisposedException>(() => ring.WriteAll(file, [first, last, stale], 0).AsTask());
            FrozenBuffersResult done = await ring.WriteAll(file, [first, last], 0);
            Assert.True(done.IsComplete);
            foreach (FrozenBuffer back in done.Buffers) back.Release();
        });
        Assert.Equal([1, 3], File.ReadAllBytes(path));
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_message_that_finds_no_memory_for_its_head_leaves_bytes_and_descriptors_to_their_owner(RingEngine engine)
    {
        using RingTable table = new(engine, options => options with { Scratch = LittleScratch });
        (OwnedFd left, OwnedFd right) = RingTable.SocketPair();
        using RingFile leftFile = table.Ring.Register(left), rightFile = table.Ring.Register(right);
        using Pipe pipe = new();
        FrozenBuffer bytes = table.Frozen("abc"u8);
        SlabBuffer room = table.Pool.Rent(512);
        List<RingOperation<RingResult>> timers = UseUpScratch(table);
        Assert.Throws<InvalidOperationException>(() => table.Ring.SendMessage(leftFile, bytes, pipe.Read));
        Assert.Throws<InvalidOperationException>(() => table.Ring.ReceiveMessage(rightFile, room, 1));
        Assert.Equal("abc"u8, bytes.Span);
        Assert.Equal(0, room.Written);
        bytes.Release();
        room.Release();
        pipe.Read.Dispose();
        Assert.False(pipe.IsReadEndOpen);
        Cancel(table, timers);
        left.Dispose();
        right.Dispose();
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_message_with_a_closed_descriptor_leaves_the_others_to_their_owner(RingEngine engine)
    {
        using RingTable table = new(engine);
        (OwnedFd left, OwnedFd right) = RingTable.SocketPair();
        using RingFile file = table.Ring.Register(left);
        using Pipe pipe = new();
        FrozenBuffer bytes = table.Frozen([1]);
        Assert.Throws<ObjectDisposedException>(() => table.Ring.SendMessage(file, bytes, pipe.Read, right.DisposedDuplicate()));
        Assert.Equal(1, bytes.Length);
        bytes.Release();
        pipe.Read.Dispose();
        Assert.False(pipe.IsReadEndOpen);
        left.Dispose();
        right.Dispose();
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_message_to_a_file_that_is_disposed_leaves_everything_to_its_owner_and_takes_no_memory(RingEngine engine)
    {
        using RingTable table = new(engine);
        (OwnedFd left, OwnedFd right) = RingTable.SocketPair();
        RingFile gone = table.Ring.Register(left);
        gone.Dispose();
        using Pipe pipe = new();
        FrozenBuffer bytes = table.Frozen("abc"u8);
        SlabBuffer room = table.Pool.Rent(512);
        Assert.Throws<ObjectDisposedException>(() => table.Ring.SendMessage(gone, bytes, pipe.Read));
        Assert.Throws<ObjectDisposedException>(() => table.Ring.ReceiveMessage(gone, room, 1));
        Assert.Throws<ArgumentNullException>(() => table.Ring.SendMessage(null!, bytes, pipe.Read));
        Assert.Equal("abc"u8, bytes.Span);
        Assert.Equal(0, table.Ring.Scratch.Statistics.Outstanding);
        Assert.Equal(0, table.Ring.InFlight);
        bytes.Release();
        room.Release();
        pipe.Read.Dispose();
        Assert.False(pipe.IsReadEndOpen);
        left.Dispose();
        right.Dispose();
    }

    [Theory, MemberData(nameof(Engines))]
    public void An_update_that_finds_no_memory_leaves_file_and_replacement_to_their_owner(RingEngine engine)
    {
        using RingTable table = new(engine, options => options with { Scratch = LittleScratch });
        using OwnedFd fd = RingTable.Open(table.NewFile());
        using Pipe pipe = new();
        RingFile file = table.Ring.Register(fd);
        List<RingOperation<RingResult>> timers = UseUpScratch(table);
        Assert.Throws<InvalidOperationException>(() => table.Ring.UpdateFile(file, pipe.Read));
        pipe.Read.Dispose();
        Assert.False(pipe.IsReadEndOpen);
        Cancel(table, timers);
        file.Dispose();
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_descriptor_that_a_ring_which_has_ended_is_to_close_stays_its_owners(RingEngine engine)
    {
        using RingTable table = new(engine);
        using Pipe pipe = new();
        table.Ring.Dispose();
        Assert.Throws<ObjectDisposedException>(() => table.Ring.Close(pipe.Read));
        Assert.False(pipe.Read.IsClosed || pipe.Read.IsInvalid);
        Assert.True(pipe.IsReadEndOpen);
        pipe.Read.Dispose();
        Assert.False(pipe.IsReadEndOpen);
    }

    [Theory, MemberData(nameof(Engines))]
    public void Pages_that_a_pool_unmapped_leave_their_places_in_the_table_of_buffers_to_others(RingEngine engine)
    {
        using RingTable table = new(engine, options => options with { BuffersMax = 2 });
        using OwnedFd fd = RingTable.Open(table.NewFile([1, 2, 3]));
        using RingFile file = table.Ring.Register(fd);
        table.Ring.RegisterBuffers(table.Pool);
        for (int i = 0; i < 6; i++)
        {
            // Mapped for itself, and unmapped with its release.
            RingOperation<BufferResult> reading = table.Ring.Read(file, table.Pool.Rent(SlabPool.BlockBytesMax + 1), 0);
            table.RunUntil(() => reading.IsCompleted);
            BufferResult read = reading.GetAwaiter().GetResult();
            Assert.Equal([1, 2, 3], read.Buffer.Bytes.ToArray());
            Assert.Equal(engine == RingEngine.Kernel, read.Buffer.Block.Page.RegisteredIndex >= 0);
            read.Buffer.Release();
        }
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_ring_that_its_reactor_refuses_leaves_nothing_open(RingEngine engine)
    {
        using Reactor reactor = new();
        Exception? refused = null;
        Thread stranger = new(() => refused = Record.Exception(() => new IoRing(reactor, new RingOptions { Engine = engine })));
        string[] before = OpenDescriptors.OfReactors();
        stranger.Start();
        stranger.Join();
        Assert.IsType<InvalidOperationException>(refused);
        // Closed by now, and not when a collection comes by.
        Assert.Equal(before, OpenDescriptors.OfReactors(settled: false));
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_registered_file_is_closed_at_once_when_its_ring_has_ended(RingEngine engine)
    {
        for (int round = 0; round < 20; round++)
        {
            using Pipe pipe = new();
            using RingTable table = new(engine);
            RingFile file = table.Ring.Register(pipe.Read);
            RingOperation<BufferResult> reading = table.Ring.Read(file, table.Pool.Rent(512)).Eagerly();
            table.Reactor.RunOnce(TimeSpan.Zero);
            table.Reactor.Dispose();
            BufferResult read = reading.GetAwaiter().GetResult();
            read.Buffer.Release();
            file.Dispose();
            pipe.Read.Dispose();
            Assert.False(pipe.IsReadEndOpen);
        }
    }

    private static SlabPoolOptions LittleScratch => new() { BytesMax = SlabPool.PageBytes };

    /// <summary>Begins timers until there is no memory for the arguments of one more.</summary>
    private static List<RingOperation<RingResult>> UseUpScratch(RingTable table)
    {
        List<RingOperation<RingResult>> timers = [];
        // A size class takes a whole slab page, and this is all that the pool may map.
        while (true)
        {
            try
            {
                timers.Add(table.Ring.After(TimeSpan.FromHours(1)));
            }
            catch (InvalidOperationException)
            {
                return timers;
            }
        }
    }

    private static void Cancel(RingTable table, List<RingOperation<RingResult>> timers)
    {
        foreach (RingOperation<RingResult> timer in timers) timer.Abandon();
        table.RunUntil(() => table.Ring.InFlight == 0);
    }
}
