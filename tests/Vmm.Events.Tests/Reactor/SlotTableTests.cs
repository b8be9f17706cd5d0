namespace Vmm.Events.Tests;

public sealed class SlotTableTests
{
    private readonly SlotTable _slots = new();

    [Fact]
    public void I2_retired_slots_are_reused_first_in_first_out()
    {
        int[] rented = [.. Enumerable.Range(0, SlotTable.ChunkLength).Select(_ => _slots.Rent())];
        int[] retired = [rented[7], rented[3], rented[200]];
        foreach (int index in retired) _slots.Retire(index, turn: 1, inBatch: false);
        int[] again = [_slots.Rent(), _slots.Rent(), _slots.Rent()];
        Assert.Equal(retired, again);
        Assert.Equal(SlotTable.ChunkLength, _slots.Capacity);
    }

    [Fact]
    public void I2_a_slot_retired_in_a_batch_is_not_reused_before_the_batch_has_ended()
    {
        for (int i = 0; i < SlotTable.ChunkLength; i++) _slots.Rent();
        _slots.Retire(5, turn: 1, inBatch: true);
        int fresh = _slots.Rent();
        Assert.Equal(SlotTable.ChunkLength, fresh);
        _slots.BatchEnded();
        int[] rest = [.. Enumerable.Range(0, SlotTable.ChunkLength).Select(_ => _slots.Rent())];
        Assert.Equal(5, rest[^1]);
        Assert.Equal(2 * SlotTable.ChunkLength, _slots.Capacity);
    }

    [Fact]
    public void I2_slots_do_not_move_while_the_heap_is_compacted_and_the_table_grows()
    {
        int index = _slots.Rent();
        ulong data = ThinPointer.To(ref _slots[index]);
        _slots[index].Fd = 1234;
        for (int i = 0; i < 4 * SlotTable.ChunkLength; i++) _slots.Rent();
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Forced, blocking: true, compacting: true);
        Assert.Equal(1234, ThinPointer.Resolve(data).Fd);
        Assert.Equal(data, ThinPointer.To(ref _slots[index]));
    }

    [Fact]
    public void I2_a_thin_pointer_of_a_retired_slot_matches_neither_the_free_slot_nor_its_next_user()
    {
        int index = _slots.Rent();
        ulong stale = ThinPointer.To(ref _slots[index]);
        _slots.Retire(index, turn: 1, inBatch: false);
        Assert.NotEqual(ThinPointer.GenerationOf(stale), _slots[index].Generation);
        do
        {
        }
        while (_slots.Rent() != index);
        Assert.NotEqual(ThinPointer.GenerationOf(stale), _slots[index].Generation);
    }

    [Fact]
    public void I2_the_generation_wraps_and_never_meets_a_free_slot()
    {
        int index = _slots.Rent();
        ushort first = _slots[index].Generation;
        ulong data = ThinPointer.To(ref _slots[index]);
        int rentals = 0;
        do
        {
            _slots.Retire(index, turn: 1, inBatch: false);
            Assert.Equal(0, _slots[index].Generation & 1);
            Assert.Null(SlotTable.TargetOf(data));
            RentThisOne(index);
            rentals++;
            Assert.Equal(1, _slots[index].Generation & 1);
            Assert.Equal(data & ((1UL << 48) - 1), ThinPointer.To(ref _slots[index]) & ((1UL << 48) - 1));
        }
        while (_slots[index].Generation != first);
        Assert.Equal(1 << 15, rentals);
    }

    private void RentThisOne(int index)
    {
        // Every other slot is taken first, then the list holds only this one.
        while (_slots.Rent() is var rented && rented != index)
        {
        }
    }
}
