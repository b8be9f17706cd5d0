using Vmm.Events.Buffers;
using Vmm.Events.Native;

namespace Vmm.Events.Tests.Buffers;

/// <summary>A list of pieces for the kernel: where it stands, and what is left of it.</summary>
public sealed unsafe class IoVectorsTests
{
    /// <summary>Invariant A: the kernel has its address until the operation is over, whatever the collector does meanwhile.</summary>
    [Fact]
    public void A_list_stays_where_it_is_when_the_collector_compacts_memory()
    {
        List<(IoVectors List, nint Address)> lists = [];
        List<byte[]> between = [];
        for (int i = 0; i < 1000; i++)
        {
            // Dropped below: what is behind it would move into its place.
            between.Add(new byte[200]);
            IoVectors list = new(4);
            lists.Add((list, list.Address));
        }
        between.Clear();
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        Assert.All(lists, each => Assert.Equal(each.Address, each.List.Address));
    }

    [Fact]
    public void Bytes_that_are_done_are_dropped_from_the_front_with_the_pieces_that_they_end()
    {
        byte* memory = stackalloc byte[16];
        IoVectors list = new(4);
        list.Add(memory, 4);
        list.Add(memory + 4, 0);
        list.Add(memory + 8, 8);
        nint first = list.Address;
        Assert.Equal((3, 12L), (list.Count, list.Bytes));
        list.Advance(3);
        Assert.Equal((3, 9L, (nint)(memory + 3), (nint)1), (list.Count, list.Bytes, list.First.Address, list.First.Length));
        list.Advance(1);
        // The empty piece goes with the one before it.
        Assert.Equal((1, 8L, (nint)(memory + 8)), (list.Count, list.Bytes, list.First.Address));
        Assert.Equal(first + 2 * sizeof(IoVec), list.Address);
        Assert.Throws<ArgumentOutOfRangeException>(() => list.Advance(9));
        Assert.Throws<ArgumentOutOfRangeException>(() => list.Advance(-1));
        list.Advance(8);
        Assert.Equal((0, 0L), (list.Count, list.Bytes));
        list.Clear();
        Assert.Equal((0, first), (list.Count, list.Address));
    }

    [Fact]
    public void A_list_that_stands_for_another_one_hands_out_its_pieces_and_takes_none()
    {
        byte* memory = stackalloc byte[16];
        IoVec* pieces = stackalloc IoVec[2];
        pieces[0] = new IoVec { Address = (nint)memory, Length = 4 };
        pieces[1] = new IoVec { Address = (nint)memory + 8, Length = 8 };
        nint start = (nint)pieces, address = (nint)memory;
        IoVectors list = new(1);
        nint own = list.Address;
        list.Use(pieces, 2);
        Assert.Equal((2, 12L, start), (list.Count, list.Bytes, list.Address));
        Assert.Throws<InvalidOperationException>(() => list.Add((void*)address, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => list.Use((void*)start, IoVectors.CountMax + 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => list.Use((void*)start, -1));
        list.Advance(4);
        Assert.Equal((1, 8L, (nint)(memory + 8)), (list.Count, list.Bytes, list.First.Address));
        list.Clear();
        list.Add(memory, 1);
        Assert.Equal((1, 1L, own), (list.Count, list.Bytes, list.Address));
    }

    [Fact]
    public void A_list_that_is_full_a_negative_length_and_a_wrong_capacity_are_refused()
    {
        byte one = 0;
        IoVectors list = new(1);
        byte* memory = &one;
        nint address = (nint)memory;
        Assert.Throws<ArgumentOutOfRangeException>(() => list.Add((void*)address, -1));
        list.Add(memory, 1);
        InvalidOperationException refused = Assert.Throws<InvalidOperationException>(() => list.Add((void*)address, 1));
        Assert.Contains("room for 1", refused.Message, StringComparison.Ordinal);
        Assert.Equal((1, 1L), (list.Count, list.Bytes));
        Assert.Throws<ArgumentOutOfRangeException>(() => new IoVectors(0));
        Assert.Throws<ArgumentOutOfRangeException>(() => new IoVectors(IoVectors.CountMax + 1));
    }
}
