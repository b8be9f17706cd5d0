using Vmm.Events.Buffers;

namespace Vmm.Events.Tests.Buffers;

public sealed class SlabPoolTests
{
    [Fact]
    public void Rent_freeze_and_release_allocate_nothing_once_warm()
    {
        using SlabPool pool = new();
        SteadyState.AllocatesNothing(() => Cycle(pool, 1000));
        Assert.Equal(1, pool.Statistics.Pages);

        static void Cycle(SlabPool pool, int rounds)
        {
            for (int i = 0; i < rounds; i++)
            {
                SlabBuffer buffer = pool.Rent(4096);
                buffer.Append([1, 2, 3]);
                FrozenBuffer frozen = buffer.Lend().Return(100).Freeze(103);
                FrozenBuffer second = frozen.Share();
                frozen.Release();
                second.Release();
            }
        }
    }

    [Fact]
    public void The_limit_of_bytes_holds()
    {
        using SlabPool pool = new(new SlabPoolOptions { BytesMax = SlabPool.PageBytes });
        SlabBuffer[] buffers = new SlabBuffer[4];
        for (int i = 0; i < buffers.Length; i++) buffers[i] = pool.Rent(SlabPool.BlockBytesMax);
        Assert.False(pool.TryRent(SlabPool.BlockBytesMax, out _));
        Assert.False(pool.TryRent(SlabPool.PageBytes, out _));
        Assert.Throws<InvalidOperationException>(() => pool.Rent(512));
        buffers[0].Release();
        Assert.True(pool.TryRent(SlabPool.BlockBytesMax, out buffers[0]));
        foreach (SlabBuffer buffer in buffers) buffer.Release();
    }

    [Fact]
    public void A_huge_buffer_is_mapped_for_itself_and_unmapped_with_its_release()
    {
        using SlabPool pool = new();
        SlabBuffer huge = pool.Rent(5_000_000);
        Assert.Equal(1, pool.Statistics.HugeRents);
        Assert.True(pool.Statistics.MappedBytes >= 5_000_000);
        huge.Release();
        Assert.Equal(0, pool.Statistics.MappedBytes);
        Assert.Throws<ObjectDisposedException>(() => huge.Release());
    }

    [Fact]
    public void A_leak_names_where_the_buffer_was_rented()
    {
        using SlabPool pool = new(new SlabPoolOptions { TraceRents = true });
        pool.Rent(512).Release();
        SlabBuffer forgotten = RentAndForget(pool);
        SlabLeak leak = Assert.Single(pool.ReportLeaks());
        Assert.Equal("Owned", leak.State);
        Assert.Contains(nameof(RentAndForget), leak.RentedAt, StringComparison.Ordinal);
        LentBuffer lent = forgotten.Lend();
        Assert.Equal("Lent", Assert.Single(pool.ReportLeaks()).State);
        lent.Release();
        Assert.Empty(pool.ReportLeaks());
    }

    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.NoInlining)]
    private static SlabBuffer RentAndForget(SlabPool pool) => pool.Rent(1024);

    [Fact]
    public void A_block_whose_generations_are_used_up_is_retired_and_no_stale_handle_matches_again()
    {
        using SlabPool pool = new();
        SlabBuffer buffer = pool.Rent(512);
        SlabBlock block = buffer.Block;
        block.Age(SlabBlock.GenerationMax - 10);
        Assert.Throws<ObjectDisposedException>(() => buffer.Release());
        SlabBuffer aged = new(block, SlabBlock.GenerationMax - 10);
        aged.Lend().Return(0).Release();
        Assert.Equal(1, pool.Statistics.Retired);
        for (int i = 0; i < 3000; i++) Assert.NotSame(block, pool.Rent(512).Block);
    }

    [Fact]
    public void Of_many_threads_that_release_one_buffer_exactly_one_succeeds()
    {
        using SlabPool pool = new();
        for (int round = 0; round < 200; round++)
        {
            SlabBuffer buffer = pool.Rent(512);
            int released = 0;
            Parallel.For(0, 4, _ =>
            {
                try
                {
                    buffer.Release();
                    Interlocked.Increment(ref released);
                }
                catch (ObjectDisposedException)
                {
                    // The others.
                }
            });
            Assert.Equal(1, released);
        }
        Assert.Equal(0, pool.Statistics.Outstanding);
    }

    [Fact]
    public void A_default_handle_is_no_buffer()
    {
        Assert.True(default(SlabBuffer).IsEmpty);
        Assert.Throws<ObjectDisposedException>(() => default(SlabBuffer).Release());
        Assert.Throws<ObjectDisposedException>(() => default(FrozenBuffer).Release());
        Assert.True(default(FrozenBuffer).Memory.IsEmpty);
    }
}
