using Vmm.Events.Buffers;
using Vmm.Events.Rings;
using Vmm.Events.Tasks;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests.Rings;

public sealed class LinkTimeoutTests
{
    private static readonly TimeSpan Soon = TimeSpan.FromMilliseconds(5);
    private static readonly TimeSpan Late = TimeSpan.FromHours(1);

    public static TheoryData<RingEngine> Engines => RingTable.Engines;

    [Theory, MemberData(nameof(Engines))]
    public void An_operation_whose_time_is_up_is_cancelled_and_the_rest_of_its_chain_too(RingEngine engine)
    {
        using RingTable table = new(engine);
        (RingFile pipe, _) = table.NewPipe();
        using OwnedFd fd = RingTable.Open(table.NewFile());
        table.Run(async ring =>
        {
            using RingFile file = ring.Register(fd);
            RingOperation<BufferResult> reading;
            RingOperation<RingResult> limit;
            RingOperation<FrozenResult> writing;
            using (ring.Chain())
            {
                reading = ring.Read(pipe, table.Pool.Rent(512));
                limit = ring.LinkTimeout(Soon);
                writing = ring.Write(file, table.Frozen([1]), 0);
            }
            BufferResult read = await reading;
            Assert.True(read.Result.IsCanceled, $"{read.Result}");
            Assert.Equal(Errno.TimerExpired, (await limit).Error);
            FrozenResult written = await writing;
            Assert.Equal(Errno.Canceled, written.Result.Error);
            read.Buffer.Release();
            written.Buffer.Release();
        });
    }

    [Theory, MemberData(nameof(Engines))]
    public void An_operation_that_is_in_time_ends_its_limit_and_the_chain_goes_on(RingEngine engine)
    {
        using RingTable table = new(engine);
        (RingFile pipe, FileStream writeEnd) = table.NewPipe();
        string path = table.NewFile();
        using OwnedFd fd = RingTable.Open(path);
        table.Run(async ring =>
        {
            using RingFile file = ring.Register(fd);
            RingOperation<RingResult>[] limits = new RingOperation<RingResult>[2];
            RingOperation<FrozenResult> writing;
            RingOperation<BufferResult> reading;
            RingOperation<RingResult> syncing;
            using (ring.Chain())
            {
                writing = ring.Write(file, table.Frozen([7]), 0);
                limits[0] = ring.LinkTimeout(Late);
                reading = ring.Read(pipe, table.Pool.Rent(512), count: 3);
                limits[1] = ring.LinkTimeout(Late);
                syncing = ring.Fsync(file);
            }
            (await writing).Buffer.Release();
            writeEnd.Write([1, 2, 3]);
            BufferResult read = await reading;
            Assert.Equal([1, 2, 3], read.Buffer.Bytes.ToArray());
            read.Buffer.Release();
            (await syncing).ThrowIfFailed("fsync");
            foreach (RingOperation<RingResult> limit in limits) Assert.Equal(Errno.Canceled, (await limit).Error);
        });
        Assert.Equal([7], File.ReadAllBytes(path));
    }

    [Theory, MemberData(nameof(Engines))]
    public void An_abandoned_limit_holds_all_the_same(RingEngine engine)
    {
        using RingTable table = new(engine);
        (RingFile pipe, _) = table.NewPipe();
        table.Run(async ring =>
        {
            RingOperation<BufferResult> reading;
            using (ring.Chain())
            {
                reading = ring.Read(pipe, table.Pool.Rent(512));
                ring.LinkTimeout(Soon).Abandon();
            }
            BufferResult read = await reading;
            Assert.True(read.Result.IsCanceled, $"{read.Result}");
            read.Buffer.Release();
        });
        table.RunUntil(() => table.Ring.InFlight == 0);
    }

    [Theory, MemberData(nameof(Engines))]
    public void An_operation_that_is_cancelled_or_abandoned_takes_its_limit_with_it(RingEngine engine)
    {
        using RingTable table = new(engine);
        (RingFile pipe, _) = table.NewPipe();
        table.Run(async ring =>
        {
            for (int round = 0; round < 2; round++)
            {
                RingOperation<BufferResult> reading;
                RingOperation<RingResult> limit;
                using (ring.Chain())
                {
                    reading = ring.Read(pipe, table.Pool.Rent(512));
                    limit = ring.LinkTimeout(Late);
                }
                await ReactorTask.Yield();
                if (round == 0) reading.Abandon(); else reading.Cancel();
                Assert.Equal(Errno.Canceled, (await limit).Error);
                if (round == 1) (await reading).Buffer.Release();
            }
        });
        table.RunUntil(() => table.Ring.InFlight == 0);
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_limit_stands_in_a_chain_behind_an_operation(RingEngine engine)
    {
        using RingTable table = new(engine);
        using OwnedFd fd = RingTable.Open(table.NewFile());
        using RingFile file = table.Ring.Register(fd);
        Assert.Throws<InvalidOperationException>(() => table.Ring.LinkTimeout(Late));
        RingOperation<RingResult> syncing;
        RingOperation<RingResult> limit;
        using (table.Ring.Chain())
        {
            Assert.Throws<InvalidOperationException>(() => table.Ring.LinkTimeout(Late));
            syncing = table.Ring.Fsync(file);
            Assert.Throws<ArgumentOutOfRangeException>(() => table.Ring.LinkTimeout(-Soon));
            limit = table.Ring.LinkTimeout(Late);
            Assert.Throws<InvalidOperationException>(() => table.Ring.LinkTimeout(Late));
        }
        table.RunUntil(() => syncing.IsCompleted && limit.IsCompleted);
        Assert.Equal(0, syncing.GetAwaiter().GetResult().Value);
        Assert.Equal(Errno.Canceled, limit.GetAwaiter().GetResult().Error);
    }

    /// <summary>The bytes come at about the time that the limit ends.</summary>
    [Theory]
    [InlineData(RingEngine.Kernel, 2_000)]
    [InlineData(RingEngine.Threads, 500)]
    public void Whoever_is_first_both_complete_and_no_byte_is_lost(RingEngine engine, int rounds)
    {
        Random random = new(TestSeed.Take());
        using RingTable table = new(engine);
        (RingFile pipe, FileStream writeEnd) = table.NewPipe();
        long written = 0;
        long read = 0;
        for (int round = 0; round < rounds; round++)
        {
            RingOperation<BufferResult> reading;
            RingOperation<RingResult> limit;
            using (table.Ring.Chain())
            {
                reading = table.Ring.Read(pipe, table.Pool.Rent(512), count: 1);
                limit = table.Ring.LinkTimeout(TimeSpan.FromMicroseconds(random.Next(200)));
            }
            if (random.Next(2) == 0) table.Reactor.RunOnce(TimeSpan.Zero);
            if (random.Next(2) == 0)
            {
                Thread.SpinWait(random.Next(2000));
                writeEnd.Write([1]);
                written++;
            }
            table.RunUntil(() => reading.IsCompleted && limit.IsCompleted);
            BufferResult result = reading.GetAwaiter().GetResult();
            Errno ended = limit.GetAwaiter().GetResult().Error;
            // The kernel may have asked a read to end that had its byte already: what the read says has the last word.
            Assert.True(!result.Result.IsCanceled || ended == Errno.TimerExpired, $"{result.Result}, {ended}");
            if (!result.Result.IsCanceled)
            {
                Assert.Equal(1, result.Result.Value);
                read++;
            }
            result.Buffer.Release();
        }
        // Nothing that came was lost with a cancelled read.
        SlabBuffer rest = table.Pool.Rent((int)Math.Max(1, written));
        writeEnd.Write([9]);
        RingOperation<BufferResult> last = table.Ring.Read(pipe, rest);
        table.RunUntil(() => last.IsCompleted);
        BufferResult left = last.GetAwaiter().GetResult();
        Assert.Equal(written - read + 1, left.Result.Value);
        left.Buffer.Release();
    }
}
