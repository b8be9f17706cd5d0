using System.Buffers;
using Vmm.Events.Buffers;

namespace Vmm.Events.Tests.Buffers;

public sealed class SlabBufferTests
{
    [Theory]
    [InlineData(1, 512)]
    [InlineData(512, 512)]
    [InlineData(513, 1024)]
    [InlineData(4096, 4096)]
    [InlineData(5000, 8192)]
    [InlineData(262_144, 262_144)]
    [InlineData(262_145, 266_240)]
    [InlineData(3_000_000, 3_002_368)]
    public void A_buffer_has_the_room_of_its_size_class_and_is_aligned_for_direct_io(int asked, int capacity)
    {
        using SlabPool pool = new();
        SlabBuffer buffer = pool.Rent(asked);
        Assert.Equal(capacity, buffer.Capacity);
        Assert.Equal(0, buffer.Block.Address % buffer.Alignment);
        Assert.True(buffer.Alignment >= Math.Min(asked, 4096));
        buffer.Release();
    }

    [Fact]
    public void A_view_whose_pin_is_undone_twice_refuses_the_second_and_can_be_disposed()
    {
        using SlabPool pool = new();
        SlabBuffer buffer = pool.Rent(512);
        SlabView view = buffer.OpenView();
        System.Buffers.MemoryHandle pin = view.Memory.Pin();
        System.Buffers.MemoryHandle copy = pin;
        Assert.Throws<InvalidOperationException>(() => ((IDisposable)view).Dispose());
        pin.Dispose();
        Assert.Throws<InvalidOperationException>(copy.Dispose);
        ((IDisposable)view).Dispose();
        buffer.Release();
    }

    [Fact]
    public void Invariant_A_an_address_does_not_move_through_collections_and_hand_overs()
    {
        using SlabPool pool = new();
        SlabBuffer buffer = pool.Rent(4096);
        nint address = buffer.Block.Address;
        GC.Collect(2, GCCollectionMode.Forced, blocking: true, compacting: true);
        buffer.Append([1, 2, 3]);
        LentBuffer lent = buffer.Lend();
        Assert.Equal(address + 3, lent.RoomAddress);
        FrozenBuffer frozen = lent.Return(0).Freeze(3);
        Assert.Equal(address, frozen.Address);
        frozen.Release();
    }

    [Fact]
    public void Invariant_A_memory_lent_to_the_kernel_outlives_its_pool()
    {
        SlabPool pool = new();
        SlabBuffer buffer = pool.Rent(4096);
        LentBuffer lent = buffer.Lend();
        pool.Dispose();
        Assert.Equal(SlabPool.PageBytes, pool.Statistics.MappedBytes);
        Assert.Throws<ObjectDisposedException>(() => pool.Rent(1));
        lent.Release();
        Assert.Equal(0, pool.Statistics.MappedBytes);
        Assert.Equal(0, pool.Statistics.Outstanding);
    }

    [Fact]
    public void Invariant_A_a_lent_block_is_not_rented_to_anyone_else()
    {
        using SlabPool pool = new();
        LentBuffer lent = pool.Rent(256 << 10).Lend();
        HashSet<nint> others = [];
        for (int i = 0; i < 16; i++) others.Add(pool.Rent(256 << 10).Block.Address);
        Assert.DoesNotContain(lent.Address, others);
        lent.Release();
    }

    [Fact]
    public void Invariant_B_a_second_mutable_view_is_refused()
    {
        using SlabPool pool = new();
        SlabBuffer buffer = pool.Rent(512);
        SlabView view = buffer.OpenView();
        Assert.Throws<InvalidOperationException>(() => buffer.OpenView());
        Assert.Throws<InvalidOperationException>(() => buffer.Room.Length);
        Assert.Throws<InvalidOperationException>(() => buffer.Append([1]));
        Assert.Throws<InvalidOperationException>(() => buffer.Freeze(0));
        Assert.Throws<InvalidOperationException>(() => buffer.Lend());
        Assert.Throws<InvalidOperationException>(() => buffer.Release());
        ((IDisposable)view).Dispose();
        buffer.Append([1]);
        buffer.Release();
    }

    [Fact]
    public void Invariant_B_a_view_kept_after_its_end_is_dead()
    {
        using SlabPool pool = new();
        SlabBuffer buffer = pool.Rent(512);
        Memory<byte> memory;
        using (SlabView view = buffer.OpenView())
        {
            memory = view.Memory;
            memory.Span[0] = 7;
            view.SetWritten(1);
        }
        Assert.Equal([7], buffer.Bytes.ToArray());
        Assert.Throws<ObjectDisposedException>(() => memory.Span.Length);
        buffer.Release();
    }

    [Fact]
    public void Invariant_B_a_pinned_view_stays_open()
    {
        using SlabPool pool = new();
        SlabBuffer buffer = pool.Rent(512);
        SlabView view = buffer.OpenView();
        MemoryHandle pin = view.Memory.Pin();
        Assert.Throws<InvalidOperationException>(((IDisposable)view).Dispose);
        pin.Dispose();
        ((IDisposable)view).Dispose();
        buffer.Release();
    }

    [Fact]
    public void Invariant_B_a_copy_of_the_handle_is_stale_after_the_buffer_was_handed_on_and_came_back()
    {
        using SlabPool pool = new();
        SlabBuffer buffer = pool.Rent(512);
        SlabBuffer copy = buffer;
        SlabBuffer back = buffer.Lend().Return(0);
        Assert.Throws<ObjectDisposedException>(() => copy.Append([1]));
        Assert.Throws<ObjectDisposedException>(() => copy.Lend());
        back.Append([1]);
        back.Release();
    }

    [Fact]
    public void A_released_buffer_can_be_used_by_no_copy_even_after_its_memory_is_rented_again()
    {
        using SlabPool pool = new();
        SlabBuffer old = pool.Rent(512);
        old.Release();
        SlabBuffer fresh = pool.Rent(512);
        Assert.Same(old.Block, fresh.Block);
        Assert.Throws<ObjectDisposedException>(() => old.Written);
        Assert.Throws<ObjectDisposedException>(() => old.Room.Length);
        Assert.Throws<ObjectDisposedException>(() => old.Release());
        Assert.Throws<ObjectDisposedException>(() => old.Freeze(0));
        Assert.Throws<ObjectDisposedException>(() => old.OpenView());
        fresh.Release();
    }

    [Fact]
    public void Invariant_C_bytes_of_an_earlier_life_are_never_shown()
    {
        using SlabPool pool = new();
        SlabBuffer old = pool.Rent(512);
        old.Room.Fill(0xEE);
        old.Advance(512);
        old.Release();
        SlabBuffer fresh = pool.Rent(512);
        Assert.Equal(0, fresh.Written);
        Assert.True(fresh.Bytes.IsEmpty);
        fresh.Append([1, 2]);
        Assert.False(fresh.Room.Contains((byte)0xEE));
        fresh.Release();

        // The room that was shown is zeroed: each way to show it begins with another one's bytes.
        LeaveBytes(pool);
        SlabBuffer blind = pool.Rent(512);
        blind.Append([1, 2]);
        blind.Advance(510);
        Assert.False(blind.Bytes.Contains((byte)0xEE));
        blind.Release();

        LeaveBytes(pool);
        SlabBuffer viewed = pool.Rent(512);
        using (SlabView view = viewed.OpenView()) Assert.False(view.Memory.Span.Contains((byte)0xEE));
        viewed.Release();

        static void LeaveBytes(SlabPool pool)
        {
            SlabBuffer left = pool.Rent(512);
            left.Room.Fill(0xEE);
            left.Advance(512);
            left.Release();
        }
    }

    [Fact]
    public void Invariant_C_a_freeze_past_what_was_written_is_refused()
    {
        using SlabPool pool = new();
        SlabBuffer buffer = pool.Rent(512);
        buffer.Append([1, 2, 3]);
        Assert.Throws<ArgumentOutOfRangeException>(() => buffer.Freeze(4));
        Assert.Throws<ArgumentOutOfRangeException>(() => buffer.Freeze(-1));
        FrozenBuffer frozen = buffer.Freeze(2);
        Assert.Equal([1, 2], frozen.Span.ToArray());
        Assert.Equal([1, 2], frozen.Memory.ToArray());
        frozen.Release();
    }

    [Fact]
    public void Invariant_C_what_the_kernel_may_have_touched_beyond_its_count_is_not_shown()
    {
        using SlabPool pool = new();
        SlabBuffer buffer = pool.Rent(512);
        Span<byte> stray = buffer.Room;
        LentBuffer lent = buffer.Lend();
        stray.Fill(0xEE);
        SlabBuffer back = lent.Return(10);
        Assert.Equal(10, back.Written);
        Assert.False(back.Room.Contains((byte)0xEE));
        back.Release();
    }

    [Fact]
    public void What_does_not_fit_is_refused()
    {
        using SlabPool pool = new();
        SlabBuffer buffer = pool.Rent(512);
        buffer.Append(new byte[510]);
        Assert.Throws<ArgumentException>(() => buffer.Append([1, 2, 3]));
        Assert.Throws<ArgumentOutOfRangeException>(() => buffer.Advance(3));
        Assert.Throws<ArgumentOutOfRangeException>(() => buffer.Advance(-1));
        buffer.Clear();
        Assert.Equal(0, buffer.Written);
        buffer.Release();
    }
}
