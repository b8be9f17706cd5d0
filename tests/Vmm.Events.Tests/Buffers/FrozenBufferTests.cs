using System.Buffers;
using Vmm.Events.Buffers;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests.Buffers;

public sealed class FrozenBufferTests
{
    private static FrozenBuffer Frozen(SlabPool pool, params ReadOnlySpan<byte> bytes)
    {
        SlabBuffer buffer = pool.Rent(512);
        buffer.Append(bytes);
        return buffer.Freeze(bytes.Length);
    }

    [Fact]
    public void Invariant_D_freezing_ends_the_mutable_handle()
    {
        using SlabPool pool = new();
        SlabBuffer buffer = pool.Rent(512);
        buffer.Append([1, 2, 3]);
        FrozenBuffer frozen = buffer.Freeze(3);
        Assert.Throws<ObjectDisposedException>(() => buffer.Bytes.Length);
        Assert.Throws<ObjectDisposedException>(() => buffer.Release());
        Assert.Throws<ObjectDisposedException>(() => buffer.Freeze(1));
        frozen.Release();
    }

    [Fact]
    public void Invariant_D_the_memory_goes_back_with_the_last_share()
    {
        using SlabPool pool = new();
        FrozenBuffer first = Frozen(pool, 1, 2, 3, 4);
        FrozenBuffer second = first.Share();
        FrozenBuffer part = second.Share(1, 2);
        first.Release();
        Assert.Equal([1, 2, 3, 4], second.Span.ToArray());
        second.Release();
        Assert.Equal([2, 3], part.Span.ToArray());
        Assert.Equal(1, pool.Statistics.Outstanding);
        part.Release();
        Assert.Equal(0, pool.Statistics.Outstanding);
    }

    [Fact]
    public void Invariant_D_a_share_released_twice_does_not_release_another_one()
    {
        using SlabPool pool = new();
        FrozenBuffer first = Frozen(pool, 1, 2, 3, 4);
        FrozenBuffer second = first.Share();
        first.Release();
        Assert.Throws<ObjectDisposedException>(() => first.Release());
        Assert.Throws<ObjectDisposedException>(() => first.Share());
        Assert.Throws<ObjectDisposedException>(() => first.Span.Length);
        Assert.Equal(4, second.Span.Length);
        second.Release();
        Assert.Throws<ObjectDisposedException>(() => second.Release());
    }

    [Fact]
    public void Invariant_D_a_memory_goes_dead_with_its_share_also_when_the_block_lives_again()
    {
        using SlabPool pool = new();
        FrozenBuffer frozen = Frozen(pool, 1, 2, 3, 4);
        ReadOnlyMemory<byte> memory = frozen.Memory;
        Assert.Equal([1, 2, 3, 4], memory.ToArray());
        frozen.Release();
        FrozenBuffer other = Frozen(pool, 9, 9, 9, 9);
        Assert.Throws<ObjectDisposedException>(() => memory.Span.Length);
        Assert.Equal([9, 9, 9, 9], other.Memory.ToArray());
        other.Release();
    }

    [Fact]
    public unsafe void Invariant_D_a_pinned_memory_keeps_its_bytes_after_its_share_was_released()
    {
        using SlabPool pool = new();
        FrozenBuffer frozen = Frozen(pool, 1, 2, 3, 4);
        ReadOnlyMemory<byte> memory = frozen.Memory;
        MemoryHandle pin = memory.Pin();
        MemoryHandle second = memory[2..].Pin();
        frozen.Release();
        FrozenBuffer other = Frozen(pool, 9, 9, 9, 9);
        Assert.Equal([1, 2, 3, 4], new ReadOnlySpan<byte>(pin.Pointer, 4).ToArray());
        Assert.Equal([3, 4], new ReadOnlySpan<byte>(second.Pointer, 2).ToArray());
        Assert.Throws<ObjectDisposedException>(() => memory.Pin());
        Assert.Equal(2, pool.Statistics.Outstanding);
        pin.Dispose();
        pin.Dispose();
        Assert.Equal(2, pool.Statistics.Outstanding);
        second.Dispose();
        Assert.Equal(1, pool.Statistics.Outstanding);
        other.Release();
        Assert.Equal(0, pool.Statistics.Outstanding);
    }

    [Fact]
    public void Of_a_release_and_a_pin_on_two_threads_neither_frees_bytes_that_the_other_uses()
    {
        using SlabPool pool = new();
        for (int round = 0; round < 2000; round++)
        {
            FrozenBuffer frozen = Frozen(pool, 7);
            ReadOnlyMemory<byte> memory = frozen.Memory;
            using Barrier both = new(2);
            byte seen = 7;
            Thread pinning = new(() =>
            {
                both.SignalAndWait();
                try
                {
                    using MemoryHandle pin = memory.Pin();
                    Thread.Yield();
                    unsafe
                    {
                        seen = *(byte*)pin.Pointer;
                    }
                }
                catch (ObjectDisposedException)
                {
                    // The release came first.
                }
            });
            pinning.Start();
            both.SignalAndWait();
            frozen.Release();
            FrozenBuffer other = Frozen(pool, 9);
            pinning.Join();
            other.Release();
            Assert.Equal(7, seen);
        }
        Assert.Equal(0, pool.Statistics.Outstanding);
    }

    [Fact]
    public void A_pin_that_is_undone_twice_is_refused_and_harms_nothing()
    {
        using SlabPool pool = new();
        FrozenBuffer frozen = Frozen(pool, 1);
        MemoryHandle pin = frozen.Memory.Pin();
        MemoryHandle copy = pin;
        pin.Dispose();
        Assert.Throws<InvalidOperationException>(copy.Dispose);
        Assert.Equal(1, frozen.Span[0]);
        frozen.Release();
        Assert.Equal(0, pool.Statistics.Outstanding);
    }

    [Fact]
    public void A_share_handed_to_the_kernel_can_be_released_by_no_copy()
    {
        using SlabPool pool = new();
        FrozenBuffer frozen = Frozen(pool, 1);
        FrozenBuffer taken = frozen.Take();
        Assert.Throws<ObjectDisposedException>(() => frozen.Release());
        taken.Release();
        Assert.Equal(0, pool.Statistics.Outstanding);
    }

    [Fact]
    public void Several_buffers_are_one_sequence()
    {
        using SlabPool pool = new();
        FrozenBuffer[] parts = [Frozen(pool, 1, 2), Frozen(pool), Frozen(pool, 3), Frozen(pool, 4, 5, 6)];
        ReadOnlySequence<byte> sequence = FrozenBuffer.Sequence(parts);
        Assert.Equal(6, sequence.Length);
        Assert.Equal([1, 2, 3, 4, 5, 6], sequence.ToArray());
        foreach (FrozenBuffer part in parts) part.Release();
        Assert.Throws<ObjectDisposedException>(() => sequence.ToArray());
    }

    [Fact]
    public void One_share_too_many_is_refused_and_harms_nothing()
    {
        using SlabPool pool = new();
        FrozenBuffer frozen = Frozen(pool, 1);
        frozen.Block.SetShares(SlabBlock.SharesMax - 1);
        FrozenBuffer last = frozen.Share();
        Assert.Throws<InvalidOperationException>(() => frozen.Share());
        frozen.Block.SetShares(2);
        last.Release();
        frozen.Release();
        Assert.Equal(0, pool.Statistics.Outstanding);
    }

    [Fact]
    public void A_share_that_is_added_while_another_thread_drops_the_last_one_is_refused_and_brings_nothing_back()
    {
        using SlabPool pool = new();
        FrozenBuffer frozen = Frozen(pool, 1);
        // The moment between the drop and the end of the block's life, in which its generation is still the share's.
        frozen.Block.SetShares(0);
        Assert.Throws<ObjectDisposedException>(() => frozen.Share());
        frozen.Block.SetShares(1);
        frozen.Release();
        Assert.Equal(0, pool.Statistics.Outstanding);
    }

    [Fact]
    public void Of_many_threads_that_release_one_share_exactly_one_succeeds()
    {
        using SlabPool pool = new();
        for (int round = 0; round < 200; round++)
        {
            FrozenBuffer frozen = Frozen(pool, 1);
            FrozenBuffer keeper = frozen.Share();
            int released = 0;
            Parallel.For(0, 4, _ =>
            {
                try
                {
                    frozen.Release();
                    Interlocked.Increment(ref released);
                }
                catch (ObjectDisposedException)
                {
                    // The others.
                }
            });
            Assert.Equal(1, released);
            Assert.Equal(1, keeper.Span.Length);
            keeper.Release();
        }
        Assert.Equal(0, pool.Statistics.Outstanding);
    }

    [Fact]
    public void Random_shares_and_releases_keep_content_and_count()
    {
        Random random = new(TestSeed.Take());
        using SlabPool pool = new();
        List<(FrozenBuffer Buffer, byte Value)> held = [];
        for (int i = 0; i < 20_000; i++)
        {
            int pick = held.Count == 0 ? 0 : random.Next(4);
            if (pick <= 1 && held.Count < 300)
            {
                byte value = (byte)random.Next(256);
                SlabBuffer buffer = pool.Rent(random.Next(1, 8192));
                int length = random.Next(buffer.Capacity + 1);
                buffer.Room[..length].Fill(value);
                buffer.Advance(length);
                held.Add((buffer.Freeze(length), value));
                continue;
            }
            int at = random.Next(held.Count);
            (FrozenBuffer chosen, byte expected) = held[at];
            Assert.False(chosen.Span.ContainsAnyExcept(expected));
            if (pick == 2)
            {
                int start = random.Next(chosen.Length + 1);
                held.Add((chosen.Share(start, random.Next(chosen.Length - start + 1)), expected));
            }
            else
            {
                chosen.Release();
                held[at] = held[^1];
                held.RemoveAt(held.Count - 1);
            }
        }
        foreach ((FrozenBuffer buffer, _) in held) buffer.Release();
        Assert.Equal(0, pool.Statistics.Outstanding);
        Assert.Empty(pool.ReportLeaks());
    }
}
