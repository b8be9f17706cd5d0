using Vmm.Events.Buffers;

namespace Vmm.Events.Tests.Buffers;

/// <summary>The thread that takes no lock beside threads that do.</summary>
public sealed class SlabFrontTests
{
    private static void OnAnotherThread(Action run)
    {
        Exception? failed = null;
        Thread thread = new(() =>
        {
            try
            {
                run();
            }
            catch (Exception exception)
            {
                failed = exception;
            }
        });
        thread.Start();
        thread.Join();
        if (failed is not null) throw new InvalidOperationException("the other thread failed", failed);
    }

    [Fact]
    public void The_first_thread_that_rents_owns_the_front_and_another_gets_it_when_it_alone_rents()
    {
        using SlabPool pool = new();
        pool.Rent(512).Release();
        Assert.True(pool.Front.IsMine);
        OnAnotherThread(() =>
        {
            for (int i = 0; i < 63; i++) pool.Rent(512).Release();
            Assert.False(pool.Front.IsMine);
            pool.Rent(512).Release();
            Assert.True(pool.Front.IsMine);
        });
        Assert.False(pool.Front.IsMine);
        SlabPoolStatistics statistics = pool.Statistics;
        Assert.Equal((65, 0, 1), (statistics.Rents, statistics.Outstanding, statistics.Pages));
    }

    [Fact]
    public void A_thread_that_rents_now_and_then_does_not_take_the_front_of_one_that_rents()
    {
        using SlabPool pool = new();
        using Barrier turn = new(2);
        Thread other = new(() =>
        {
            for (int i = 0; i < 100; i++)
            {
                turn.SignalAndWait();
                pool.Rent(512).Release();
                turn.SignalAndWait();
            }
        });
        pool.Rent(512).Release();
        other.Start();
        for (int i = 0; i < 100; i++)
        {
            turn.SignalAndWait();
            turn.SignalAndWait();
            pool.Rent(512).Release();
        }
        other.Join();
        Assert.True(pool.Front.IsMine);
    }

    [Fact]
    public void What_the_front_holds_is_not_out_of_reach_of_others()
    {
        using SlabPool pool = new(new SlabPoolOptions { BytesMax = SlabPool.PageBytes });
        const int Blocks = SlabPool.PageBytes / 4096;
        List<SlabBuffer> buffers = [];
        for (int i = 0; i < Blocks; i++) buffers.Add(pool.Rent(4096));
        Assert.False(pool.TryRent(4096, out _));
        foreach (SlabBuffer buffer in buffers) buffer.Release();
        Assert.True(pool.Front.IsMine && pool.Front.Count > 0);
        OnAnotherThread(() =>
        {
            for (int i = 0; i < Blocks; i++) Assert.True(pool.TryRent(4096, out _));
            Assert.False(pool.TryRent(4096, out _));
        });
        Assert.False(pool.TryRent(4096, out _));
        Assert.Equal(Blocks, pool.Statistics.Outstanding);
    }

    [Fact]
    public void The_front_keeps_a_bounded_number_of_blocks()
    {
        using SlabPool pool = new();
        foreach (int bytes in new[] { 512, 4096, SlabPool.BlockBytesMax })
        {
            SlabBuffer[] buffers = new SlabBuffer[300];
            for (int i = 0; i < buffers.Length; i++) buffers[i] = pool.Rent(bytes);
            foreach (SlabBuffer buffer in buffers) buffer.Release();
            int sizeClass = SlabPool.ClassOf(bytes);
            Assert.InRange(pool.Front.CountOf(sizeClass), 1, 2 * SlabFront.BatchOf(sizeClass));
        }
        Assert.Equal((0, 900), (pool.Statistics.Outstanding, (int)pool.Statistics.Rents));
    }

    [Fact]
    public void Invariant_A_another_thread_changes_no_block_before_the_owner_has_left_its_section()
    {
        using SlabPool pool = new();
        pool.Rent(512).Release();
        SlabBuffer buffer = pool.Rent(512);
        Assert.True(buffer.Block.IsOwners);
        SlabFront front = pool.Front;
        Thread other = new(buffer.Release);
        front.Enter();
        try
        {
            other.Start();
            Assert.True(SpinWait.SpinUntil(() => !buffer.Block.IsOwners, TimeSpan.FromMinutes(1)));
            // The owner may have looked at the block before: its plain store would undo what the other thread does now.
            for (int i = 0; i < 1000; i++)
            {
                Thread.Yield();
                Assert.Equal(BlockState.Owned, buffer.Block.State);
            }
        }
        finally
        {
            front.Leave();
        }
        other.Join();
        Assert.Equal(BlockState.Free, buffer.Block.State);
        Assert.Throws<ObjectDisposedException>(() => buffer.Release());
        Assert.Equal(0, pool.Statistics.Outstanding);
    }

    [Fact]
    public void Invariant_A_another_thread_takes_no_block_of_the_front_before_its_owner_has_left_its_section()
    {
        SlabPool pool = new();
        pool.Rent(512).Release();
        SlabFront front = pool.Front;
        int held = front.Count;
        Thread other = new(pool.Dispose);
        front.Enter();
        try
        {
            other.Start();
            Assert.True(SpinWait.SpinUntil(() => pool.Front != front, TimeSpan.FromMinutes(1)));
            for (int i = 0; i < 1000; i++)
            {
                Thread.Yield();
                Assert.Equal(held, front.Count);
            }
        }
        finally
        {
            front.Leave();
        }
        other.Join();
        Assert.Throws<ObjectDisposedException>(() => pool.Rent(512));
        Assert.Equal(0, pool.Statistics.MappedBytes);
    }

    /// <summary>Each round needs a block that has not travelled: a thousand are rented first.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Of_the_owner_and_another_thread_that_end_one_buffer_exactly_one_succeeds(bool frozen)
    {
        using SlabPool pool = new();
        const int Rounds = 1000;
        Action[] ends = new Action[Rounds];
        for (int i = 0; i < Rounds; i++)
        {
            SlabBuffer buffer = pool.Rent(512);
            ends[i] = frozen ? buffer.Freeze(0).Release : buffer.Release;
        }
        int ended = 0, theirs = -1, ours = -1;
        Thread other = new(() =>
        {
            for (int i = 0; i < Rounds; i++)
            {
                Meet(ref theirs, ref ours, i);
                End(ends[i]);
            }
        });
        other.Start();
        for (int i = 0; i < Rounds; i++)
        {
            Meet(ref ours, ref theirs, i);
            End(ends[i]);
        }
        other.Join();
        Assert.Equal(Rounds, ended);
        Assert.Equal(0, pool.Statistics.Outstanding);

        void End(Action end)
        {
            try
            {
                end();
                Interlocked.Increment(ref ended);
            }
            catch (ObjectDisposedException)
            {
                // The other thread did it.
            }
        }

        static void Meet(ref int mine, ref int others, int round)
        {
            Volatile.Write(ref mine, round);
            SpinWait spin = default;
            while (Volatile.Read(ref others) < round) spin.SpinOnce(sleep1Threshold: -1);
        }
    }

    [Fact]
    public void Buffers_that_travel_between_threads_keep_their_bytes_and_all_come_back()
    {
        using SlabPool pool = new();
        using System.Collections.Concurrent.BlockingCollection<(FrozenBuffer Share, byte Value)> travelling = new(64);
        int wrong = 0;
        Thread other = new(() =>
        {
            foreach ((FrozenBuffer share, byte value) in travelling.GetConsumingEnumerable())
            {
                FrozenBuffer second = share.Share();
                share.Release();
                if (second.Span[0] != value) wrong++;
                second.Release();
                pool.Rent(512).Release();
            }
        });
        other.Start();
        for (int i = 0; i < 20_000; i++)
        {
            SlabBuffer buffer = pool.Rent(512);
            buffer.Append([(byte)i]);
            travelling.Add((buffer.Lend().Return(0).Freeze(1), (byte)i));
            SlabBuffer mine = pool.Rent(512);
            mine.Append([0xff]);
            mine.Release();
        }
        travelling.CompleteAdding();
        other.Join();
        Assert.Equal(0, wrong);
        Assert.Equal((60_000, 0), (pool.Statistics.Rents, pool.Statistics.Outstanding));
    }

    [Fact]
    public void An_owner_that_ended_leaves_its_buffers_to_those_who_have_them()
    {
        using SlabPool pool = new();
        FrozenBuffer left = default;
        OnAnotherThread(() =>
        {
            pool.Rent(512).Release();
            Assert.True(pool.Front.IsMine);
            SlabBuffer buffer = pool.Rent(512);
            buffer.Append([5]);
            left = buffer.Freeze(1);
        });
        Assert.Equal(5, left.Span[0]);
        left.Release();
        Assert.Equal(0, pool.Statistics.Outstanding);
        for (int i = 0; i < 64; i++) pool.Rent(512).Release();
        Assert.True(pool.Front.IsMine);
    }
}
