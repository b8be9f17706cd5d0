using Vmm.Events.Buffers;
using Vmm.Events.Native;
using Vmm.Events.Rings;
using Vmm.Events.Tasks;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests.Rings;

public sealed class CancellationTests
{
    private const byte Canary = 0xC5;
    private const byte Late = 0x1A;

    public static TheoryData<RingEngine> Engines => RingTable.Engines;

    [Theory, MemberData(nameof(Engines))]
    public void The_buffers_of_an_abandoned_operation_are_nobody_elses_before_its_completion(RingEngine engine)
    {
        using RingTable table = new(engine);
        (RingFile pipe, FileStream writer) = table.NewPipe();
        (OwnedFd left, OwnedFd right) = RingTable.SocketPair();
        using RingFile socket = table.Ring.Register(left);
        // Nothing comes: none of them completes by itself.
        RingOperation<BufferResult> read = table.Ring.Read(pipe, table.Pool.Rent(512));
        RingOperation<BuffersResult> several = table.Ring.ReadV(pipe, [table.Pool.Rent(512), table.Pool.Rent(512)]);
        RingOperation<BufferResult> received = table.Ring.Receive(socket, table.Pool.Rent(512));
        RingOperation<MessageResult> message = table.Ring.ReceiveMessage(socket, table.Pool.Rent(512), 1);
        table.Ring.Flush();
        read.Abandon();
        several.Abandon();
        received.Abandon();
        message.Abandon();
        Assert.Equal(5, table.Pool.Statistics.Outstanding);
        Assert.Equal(5, table.Pool.ReportLeaks().Count(leak => leak.State == nameof(BlockState.Lent)));
        // What is rented meanwhile is other memory.
        SlabBuffer other = table.Pool.Rent(512);
        Assert.Equal(6, table.Pool.Statistics.Outstanding);
        table.RunUntil(() => table.Ring.InFlight == 0);
        Assert.Equal(1, table.Pool.Statistics.Outstanding);
        other.Release();
        left.Dispose();
        right.Dispose();
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_token_cancels_and_the_buffer_comes_back(RingEngine engine)
    {
        using RingTable table = new(engine);
        (RingFile pipe, FileStream writeEnd) = table.NewPipe();
        using CancellationTokenSource source = new();
        table.Run(async ring =>
        {
            ReactorTask<BufferResult> reading = ring.Read(pipe, table.Pool.Rent(512)).WithCancellation(source.Token);
            await ReactorTask.Yield();
            await Task.Run(source.Cancel);
            BufferResult read = await reading;
            Assert.True(read.Result.IsCanceled);
            Assert.Throws<OperationCanceledException>(() => read.Result.ThrowIfFailed("read"));
            read.Buffer.Release();

            BufferResult timedOut = await ring.Read(pipe, table.Pool.Rent(512)).WithTimeout(TimeSpan.FromMilliseconds(5));
            Assert.True(timedOut.Result.IsCanceled);
            writeEnd.Write([1, 2]);
            BufferResult inTime = await ring.Read(pipe, timedOut.Buffer).WithTimeout(TimeSpan.FromSeconds(20));
            Assert.Equal([1, 2], inTime.Buffer.Bytes.ToArray());
            inTime.Buffer.Release();
        });
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_cancellation_for_which_the_engine_has_no_room_is_handed_over_when_it_has(RingEngine engine)
    {
        const int waitingMax = 3;
        FullEngine? full = null;
        using RingTable table = new(engine, options => options with { Decorate = inner => full = new FullEngine(inner) });
        (RingFile pipe, _) = table.NewPipe();
        RingOperation<BufferResult>[] reads = [.. Enumerable.Range(0, waitingMax).Select(_ => table.Ring.Read(pipe, table.Pool.Rent(512)))];
        table.Reactor.RunOnce(TimeSpan.Zero);
        full!.IsFull = true;
        foreach (RingOperation<BufferResult> read in reads) Assert.True(read.Cancel());
        Assert.True(reads[0].Cancel());
        for (int i = 0; i < 3; i++) table.Reactor.RunOnce(TimeSpan.Zero);
        Assert.Equal(0, full.PreparedWithoutRoom);
        Assert.Equal(waitingMax, table.Ring.InFlight);
        full.IsFull = false;
        table.RunUntil(() => table.Ring.InFlight == 0);
        foreach (RingOperation<BufferResult> read in reads)
        {
            BufferResult result = read.GetAwaiter().GetResult();
            Assert.True(result.Result.IsCanceled, $"{result.Result}");
            result.Buffer.Release();
        }
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_task_that_is_aborted_leaves_its_operation_and_the_ring_releases_the_buffer(RingEngine engine)
    {
        using RingTable table = new(engine);
        (RingFile pipe, _) = table.NewPipe();
        ReactorTasks tasks = ReactorTasks.Of(table.Reactor);
        ReactorTask task = tasks.Spawn(async () =>
        {
            BufferResult read = await table.Ring.Read(pipe, table.Pool.Rent(512));
            read.Buffer.Release();
        });
        table.Reactor.RunOnce(TimeSpan.Zero);
        Assert.Equal(1, table.Pool.Statistics.Outstanding);
        task.Abort();
        table.RunUntil(() => task.IsCompleted && table.Ring.InFlight == 0);
        Assert.Throws<TaskAbortedException>(() => task.GetAwaiter().GetResult());
        Assert.Equal(0, table.Pool.Statistics.Outstanding);
    }

    [Theory, MemberData(nameof(Engines))]
    public void What_an_abandoned_operation_opens_is_closed(RingEngine engine)
    {
        using RingTable table = new(engine);
        string path = table.NewFile();
        long before = Links(path);
        for (int i = 0; i < 50; i++)
        {
            RingOperation<DescriptorResult> opening = table.Ring.Open(path, 0);
            if (i % 2 == 0) table.Ring.Flush();
            if (i % 5 == 0) table.RunUntil(() => opening.IsCompleted);
            opening.Abandon();
        }
        table.RunUntil(() => table.Ring.InFlight == 0);
        Assert.Equal(before, Links(path));

        static long Links(string path) => Directory.EnumerateFiles("/proc/self/fd").Count(fd => new FileInfo(fd).LinkTarget == path);
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_ring_is_torn_down_with_1_000_operations_in_flight(RingEngine engine)
    {
        RingTable table = new(engine, options => options with { SubmissionEntries = 64, CompletionEntries = 64 });
        (RingFile pipe, _) = table.NewPipe();
        ReactorTasks tasks = ReactorTasks.Of(table.Reactor);
        List<RingOperation<BufferResult>> operations = [];
        int aborted = 0;
        for (int i = 0; i < 1000; i++)
        {
            if (i % 3 != 0)
            {
                operations.Add(table.Ring.Read(pipe, table.Pool.Rent(512)));
                continue;
            }
            tasks.Spawn(async () =>
            {
                try
                {
                    (await table.Ring.Read(pipe, table.Pool.Rent(512))).Buffer.Release();
                }
                catch (TaskAbortedException)
                {
                    aborted++;
                    throw;
                }
            }).Detach();
        }
        table.Reactor.RunOnce(TimeSpan.Zero);
        Assert.Equal(1000, table.Ring.InFlight);
        table.Reactor.Dispose();
        Assert.Equal(0, table.Ring.InFlight);
        Assert.Equal(334, aborted);
        foreach (RingOperation<BufferResult> operation in operations)
        {
            BufferResult result = operation.GetAwaiter().GetResult();
            Assert.True(result.Result.IsCanceled, $"{result.Result}");
            result.Buffer.Release();
        }
        table.Dispose();
    }

    [Theory]
    [InlineData(RingEngine.Kernel, 100_000)]
    [InlineData(RingEngine.Threads, 10_000)]
    public void Operations_that_complete_before_during_and_after_their_cancellation_never_touch_reused_memory(RingEngine engine, int rounds)
    {
        Random random = new(TestSeed.Take());
        using RingTable table = new(engine);
        (RingFile pipe, FileStream writeEnd) = table.NewPipe();
        byte[] late = [Late, Late, Late, Late];
        List<RingOperation<BufferResult>> waiting = [];
        List<SlabBuffer> canaries = [];
        int completions = 0;
        int abandoned = 0;
        for (int round = 0; round < rounds; round++)
        {
            waiting.Add(table.Ring.Read(pipe, table.Pool.Rent(512), count: 4));
            // What is given back by an abandoned operation is rented at once, and filled with canaries.
            SlabBuffer canary = table.Pool.Rent(512);
            canary.Room.Fill(Canary);
            canary.Advance(512);
            canaries.Add(canary);
            if (random.Next(3) == 0) table.Ring.Flush();
            if (random.Next(2) == 0) writeEnd.Write(late);
            if (random.Next(3) == 0) table.Reactor.RunOnce(TimeSpan.Zero);
            int pick = random.Next(waiting.Count);
            switch (random.Next(3))
            {
                case 0:
                    waiting[pick].Abandon();
                    waiting.RemoveAt(pick);
                    abandoned++;
                    break;
                case 1:
                    if (!waiting[pick].IsCompleted) waiting[pick].Cancel();
                    break;
            }
            if (random.Next(2) == 0) table.Reactor.RunOnce(TimeSpan.Zero);
            if (round % 16 == 15) Settle();
        }
        Settle();
        Assert.Equal(rounds, completions + abandoned);

        void Settle()
        {
            foreach (RingOperation<BufferResult> operation in waiting)
            {
                if (!operation.IsCompleted) operation.Cancel();
            }
            table.RunUntil(() => table.Ring.InFlight == 0);
            foreach (RingOperation<BufferResult> operation in waiting)
            {
                BufferResult result = operation.GetAwaiter().GetResult();
                completions++;
                Assert.Equal(-1, result.Buffer.Bytes.IndexOfAnyExcept(Late));
                Assert.Equal(result.Result.Count, result.Buffer.Written);
                result.Buffer.Release();
            }
            waiting.Clear();
            foreach (SlabBuffer canary in canaries)
            {
                Assert.Equal(-1, canary.Bytes.IndexOfAnyExcept(Canary));
                canary.Release();
            }
            canaries.Clear();
        }
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_waiter_is_called_once_whoever_wins(RingEngine engine)
    {
        using RingTable table = new(engine);
        (RingFile pipe, FileStream writeEnd) = table.NewPipe();
        ReactorTasks tasks = ReactorTasks.Of(table.Reactor);
        Random random = new(TestSeed.Take());
        int began = 0;
        int ended = 0;
        for (int round = 0; round < 2000; round++)
        {
            ReactorTask task = tasks.Spawn(Body);
            if (random.Next(2) == 0) writeEnd.Write([1]);
            if (random.Next(2) == 0) table.Reactor.RunOnce(TimeSpan.Zero);
            if (random.Next(2) == 0) writeEnd.Write([1]);
            task.Abort();
            table.RunUntil(() => task.IsCompleted);
            try
            {
                task.GetAwaiter().GetResult();
            }
            catch (TaskAbortedException)
            {
                // It had nothing to read yet.
            }
        }
        table.RunUntil(() => table.Ring.InFlight == 0);
        Assert.Equal(began, ended);

        async ReactorTask Body()
        {
            began++;
            try
            {
                BufferResult read = await table.Ring.Read(pipe, table.Pool.Rent(512), count: 1);
                read.Buffer.Release();
            }
            finally
            {
                ended++;
            }
        }
    }

    /// <summary>An engine whose submissions the kernel does not take for a while (EBUSY).</summary>
    private sealed class FullEngine(IRingEngine inner) : WatchedEngine(inner, static _ => { })
    {
        internal bool IsFull { get; set; }

        internal int PreparedWithoutRoom { get; private set; }

        public override int Room => IsFull ? 0 : base.Room;

        // There is something left to submit.
        public override bool HasWork => IsFull || base.HasWork;

        public override void Prepare(in IoUringEntry entry)
        {
            if (IsFull) PreparedWithoutRoom++; else base.Prepare(entry);
        }

        public override void Submit()
        {
            if (!IsFull) base.Submit();
        }
    }
}
