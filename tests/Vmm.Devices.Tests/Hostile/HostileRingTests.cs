using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>Rings no driver may lay out or move as these do.</summary>
public sealed class HostileRingTests
{
    private const ulong Buffer = RingRig.BufferStart;
    private static readonly GuestBuffer Small = new(Buffer, 8);

    public static TheoryData<bool, ushort, bool> Sizes => new()
    {
        { false, 0, false }, { false, 1, true }, { false, 3, false }, { false, 256, true }, { false, 257, false }, { false, 512, false },
        { false, 32768, false }, { false, 65535, false },
        { true, 0, false }, { true, 1, true }, { true, 3, true }, { true, 256, true }, { true, 257, false }, { true, 65535, false },
    };

    [Theory, MemberData(nameof(Sizes))]
    [Trait("Source", "virtio 1.2 § 2.7 and § 2.8.10.1: queue size 0, no power of two, above the maximum")]
    [Trait("Outcome", "needs reset")]
    public void Sizes_that_no_ring_may_have_are_refused(bool packed, ushort size, bool allowed)
    {
        using RingRig rig = new(new RingShape(packed, false, false), size: 256);
        Assert.Equal(allowed, TryCreate(rig, rig.Driver.Configuration() with { Size = size, SizeMax = 256 }, out GuestFault fault));
        Assert.Equal(allowed ? GuestFaultKind.None : GuestFaultKind.RingLayout, fault.Kind);
    }

    public static TheoryData<bool, ulong, ulong, ulong> Places => new()
    {
        // Not aligned.
        { false, 0x1008, 0x2000, 0x3000 }, { false, 0x1000, 0x2001, 0x3000 }, { false, 0x1000, 0x2000, 0x3002 },
        { true, 0x1008, 0x2000, 0x3000 }, { true, 0x1000, 0x2002, 0x3000 }, { true, 0x1000, 0x2000, 0x3002 },
        // Outside, or half outside.
        { false, RingRig.MemoryLength, 0x2000, 0x3000 }, { false, 0x1000, RingRig.MemoryLength - 2, 0x3000 }, { false, 0x1000, 0x2000, RingRig.MemoryLength - 4 },
        { true, RingRig.MemoryLength - 16, 0x2000, 0x3000 }, { true, 0x1000, RingRig.MemoryLength, 0x3000 }, { true, 0x1000, 0x2000, 1UL << 63 },
        // Wraps.
        { false, ulong.MaxValue - 15, 0x2000, 0x3000 }, { false, 0x1000, ulong.MaxValue - 1, 0x3000 }, { false, 0x1000, 0x2000, ulong.MaxValue - 3 },
        { true, ulong.MaxValue - 15, 0x2000, 0x3000 },
        // On top of each other.
        { false, 0x1000, 0x1000, 0x3000 }, { false, 0x1000, 0x2000, 0x10f0 }, { false, 0x1000, 0x2000, 0x2020 }, { false, 0x1000, 0x1100 - 2, 0x3000 },
        { true, 0x1000, 0x10fc, 0x3000 }, { true, 0x1000, 0x2000, 0x2000 }, { true, 0x1000, 0x2000, 0x1000 },
    };

    [Theory, MemberData(nameof(Places))]
    [Trait("Source", "virtio 1.2 § 2.7 and § 2.8: rings in unmapped memory, overlapping, misaligned")]
    [Trait("Outcome", "needs reset")]
    public void Rings_where_no_ring_may_be_are_refused(bool packed, ulong table, ulong driver, ulong device)
    {
        using RingRig rig = new(new RingShape(packed, true, false), size: 16);
        QueueConfiguration configuration = rig.Driver.Configuration() with { DescriptorTable = table, DriverRing = driver, DeviceRing = device };
        Assert.False(TryCreate(rig, configuration, out GuestFault fault));
        Assert.Equal(GuestFaultKind.RingLayout, fault.Kind);
        Assert.NotEmpty(fault.Text);
    }

    [Fact]
    [Trait("Source", "virtio 1.2 § 2.7: parts may touch")]
    [Trait("Outcome", "served")]
    public void Rings_that_touch_are_served()
    {
        using RingRig rig = new(new RingShape(false, true, false), size: 16);
        Assert.True(TryCreate(rig, rig.Driver.Configuration() with { DescriptorTable = 0x1000, DriverRing = 0x1100, DeviceRing = 0x1128 }, out _));
    }

    [Theory]
    [InlineData(16)]
    [InlineData(0x7fff)]
    [InlineData(0xffff)]
    [Trait("Source", "vhost-user: a packed ring's base is given by the front-end")]
    [Trait("Outcome", "refused")]
    public void A_packed_ring_can_not_start_outside_of_itself(ushort position)
    {
        using RingRig rig = new(new RingShape(true, false, false));
        Assert.False(TryCreate(rig, rig.Driver.Configuration() with { AvailBase = position }, out GuestFault fault));
        Assert.Equal(GuestFaultKind.RingLayout, fault.Kind);
        Assert.False(TryCreate(rig, rig.Driver.Configuration() with { UsedBase = position }, out _));
    }

    [Theory]
    [InlineData(17)]
    [InlineData(256)]
    [InlineData(0x8000)]
    [InlineData(0xffff)]
    [Trait("Source", "virtio 1.2 § 2.7.13.3; rust-vmm/vm-virtio pull 196: a device made to serve entries again and again")]
    [Trait("Outcome", "needs reset")]
    public void An_available_index_that_runs_ahead_or_back_is_refused(ushort ahead)
    {
        using RingRig rig = new(new RingShape(false, false, false));
        rig.Add([Small], []);
        rig.Driver.Publish();
        rig.Device.Push(rig.Pop(), 0);
        rig.Split.AvailableIndex = (ushort)(1 + ahead);
        rig.ExpectFault(GuestFaultKind.AvailableIndex);
    }

    [Theory]
    [InlineData(0x01ff)]
    [InlineData(0x0000)]
    [Trait("Source", "a driver that writes its 16-bit index in two halves: what is seen between them is ahead, or behind")]
    [Trait("Outcome", "needs reset")]
    public void An_available_index_that_is_written_in_halves_is_refused(ushort between)
    {
        using RingRig rig = new(new RingShape(false, false, false), configure: c => c with { AvailBase = 0x00fe }, prepare: driver => ((SplitDriverQueue)driver).StartAt(0x00fe));
        rig.Add([Small], []);
        rig.Driver.Publish();
        rig.Device.Push(rig.Pop(), 0);
        Assert.Equal(0x00ff, rig.Split.AvailableIndex);
        rig.Split.AvailableIndex = between;
        rig.ExpectFault(GuestFaultKind.AvailableIndex);
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    [Trait("Source", "virtio 1.2 § 2.7.13; CVE-2026-45782 (Cloud Hypervisor: two chains with one head under asynchronous I/O)")]
    [Trait("Outcome", "needs reset")]
    public void A_chain_made_available_again_while_it_is_in_flight_is_refused(RingShape shape)
    {
        using RingRig rig = new(shape);
        ushort id = rig.Add([Small], []);
        rig.Driver.Publish();
        DescriptorChain first = rig.Pop();
        if (shape.Packed) rig.Packed.WriteDescriptor(1, Buffer, 8, id, rig.Packed.AvailableFlags);
        else rig.Split.MakeAvailable(id);
        rig.ExpectFault(GuestFaultKind.DescriptorIndex);
        rig.Device.Push(first, 0);
        rig.Device.Publish();
        Assert.Equal(0, rig.Device.InFlight);
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    [Trait("Source", "virtio 1.2 § 2.7.13: once it was given back it may come again, also before the driver saw that")]
    [Trait("Outcome", "served")]
    public void A_chain_made_available_again_after_it_was_pushed_is_served(RingShape shape)
    {
        using RingRig rig = new(shape);
        ushort id = rig.Add([Small], []);
        rig.Driver.Publish();
        rig.Device.Push(rig.Pop(), 0);
        if (shape.Packed) rig.Packed.WriteDescriptor(1, Buffer, 8, id, rig.Packed.AvailableFlags);
        else rig.Split.MakeAvailable(id);
        rig.Device.Push(rig.Pop(), 0);
        rig.Device.Publish();
        Assert.Equal(2, rig.Device.Statistics.Requests);
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    [Trait("Source", "CVE-2016-5403 (QEMU: requests without waiting for completion took memory without bound)")]
    [Trait("Outcome", "needs reset")]
    public void No_driver_gets_more_in_flight_than_the_queue_holds(RingShape shape)
    {
        using RingRig rig = new(shape, size: 8);
        int popped = 0;
        if (shape.Packed)
        {
            // Rewrites the whole ring for the next lap without having got anything back, under new buffer ids.
            for (int lap = 0; lap < 3; lap++)
            {
                ushort available = lap % 2 == 0 ? (ushort)0x80 : (ushort)0x8000;
                for (int i = 0; i < 8; i++) rig.Packed.WriteDescriptor(i, Buffer, 8, (ushort)(lap * 8 + i), available);
                while (rig.Device.TryPop(out _)) popped++;
            }
            Assert.Equal(GuestFaultKind.AvailableIndex, rig.Device.FirstFault.Kind);
        }
        else
        {
            for (int i = 0; i < 24; i++)
            {
                rig.Split.WriteDescriptor(i % 8, Buffer, 8, 0, 0);
                rig.Split.MakeAvailable((ushort)(i % 8));
                while (rig.Device.TryPop(out _)) popped++;
            }
            Assert.Equal(GuestFaultKind.DescriptorIndex, rig.Device.FirstFault.Kind);
        }
        Assert.Equal(8, popped);
        Assert.Equal(8, rig.Device.InFlight);
    }

    [Fact]
    [Trait("Source", "virtio 1.2 § 2.8: buffer ids are 16 bits, the driver's own affair")]
    [Trait("Outcome", "served")]
    public void A_packed_driver_may_number_its_buffers_beyond_the_queue_size()
    {
        using RingRig rig = new(new RingShape(true, false, false), size: 4);
        rig.Packed.WriteDescriptor(1, Buffer, 8, 0, rig.Packed.AvailableFlags);
        rig.Packed.WriteDescriptor(0, Buffer, 8, 0xffff, rig.Packed.AvailableFlags);
        DescriptorChain high = rig.Pop(), low = rig.Pop();
        Assert.Equal((0xffff, 0), (high.Id, low.Id));
        rig.Device.Push(low, 0);
        rig.Device.Push(high, 0);
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    [Trait("Source", "the device area is the device's: what a driver scribbles there is never read back")]
    [Trait("Outcome", "ignored")]
    public void A_device_area_full_of_garbage_changes_nothing(RingShape shape)
    {
        using RingRig rig = new(shape);
        Random random = new(5);
        int length = shape.Packed ? 4 : 4 + 8 * rig.Driver.Size;
        for (int i = 0; i < 200; i++)
        {
            byte[] garbage = new byte[length];
            random.NextBytes(garbage);
            // Used entries a driver did not collect are its own loss; so write the garbage while there are none.
            ushort used = shape.Packed ? (ushort)0 : rig.Split.UsedIndex;
            BitConverter.TryWriteBytes(garbage.AsSpan(shape.Packed ? 0 : 2), shape.Packed ? BitConverter.ToUInt16(garbage) : used);
            Assert.True(rig.Memory.TryWrite(rig.Driver.DeviceRing, garbage));
            ushort id = rig.Add([Small], []);
            rig.Driver.Publish();
            rig.Device.Push(rig.Pop(), 0);
            rig.Device.Publish();
            Assert.Equal(id, rig.Collect().Id);
            rig.Device.EnableKicks();
            rig.Device.DisableKicks();
        }
        Assert.Equal(0, rig.Signals.NeedsReset);
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    [Trait("Source", "virtio 1.2 § 2.7.10 and § 2.8.14: event positions that were never valid")]
    [Trait("Outcome", "at most one interrupt")]
    public void Absurd_event_positions_cost_at_most_one_interrupt_a_publish(RingShape shape)
    {
        using RingRig rig = new(shape);
        Random random = new(6);
        for (int i = 0; i < 1_000; i++)
        {
            if (shape.Packed) rig.Packed.DriverEvent = (uint)random.NextInt64(uint.MaxValue + 1L);
            else if (shape.EventIndex) rig.Split.UsedEvent = (ushort)random.Next(65536);
            else rig.Split.AvailableFlags = (ushort)random.Next(65536);
            rig.Add([Small], []);
            rig.Driver.Publish();
            rig.Device.Push(rig.Pop(), 0);
            int before = rig.Signals.Queue;
            rig.Device.Publish();
            Assert.InRange(rig.Signals.Queue - before, 0, 1);
            rig.Collect();
        }
        Assert.Equal(0, rig.Signals.NeedsReset);
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    [Trait("Source", "CVE-2022-26353, CVE-2022-26354 (QEMU: error paths that leak an element)")]
    [Trait("Outcome", "memory stays flat")]
    public void Faults_and_resets_without_end_leave_memory_flat(RingShape shape)
    {
        const int Resets = 1_000;
        using RingRig rig = new(shape);
        GuestRegion region = rig.Memory.Regions[0];
        HostileChainTests.PokeChain(rig, shape, [(Buffer, 8, 2), (Buffer, 8, 0)]);
        Fail();
        long first = Fail(), second = Fail();
        Assert.InRange(second, 0, first + first / 10);
        Assert.True(first / Resets < 8 * 1024, $"{first / Resets} bytes for each reset");
        rig.Device.Dispose();
        rig.Driver.Dispose();
        rig.Memory.Dispose();
        Assert.False(region.IsMapped);

        long Fail()
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < Resets; i++)
            {
                QueueConfiguration configuration = rig.Driver.Configuration() with { Statistics = rig.Device.Statistics };
                Assert.True(VirtQueue.TryCreate(configuration, rig.Memory, rig.Signals, out VirtQueue? queue, out _));
                Assert.False(queue.TryPop(out _));
                Assert.Equal(GuestFaultKind.BufferOrder, queue.FirstFault.Kind);
                queue.Dispose();
            }
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    [Trait("Source", "virtio 1.2 § 2.1.2: after a reset the device works again")]
    [Trait("Outcome", "served")]
    public void A_ring_set_up_again_after_a_fault_works(RingShape shape)
    {
        using RingRig rig = new(shape);
        HostileChainTests.PokeChain(rig, shape, [(ulong.MaxValue, 8, 0)]);
        rig.ExpectFault(GuestFaultKind.BufferAddress);
        using DriverQueue again = DriverQueue.Create(rig.Memory, rig.Allocator, 16, shape.Features);
        Assert.True(VirtQueue.TryCreate(again.Configuration(), rig.Memory, rig.Signals, out VirtQueue? queue, out _));
        Assert.True(again.TryAdd([Small], [], out ushort id));
        again.Publish();
        Assert.True(queue.TryPop(out DescriptorChain? chain));
        queue.Push(chain, 0);
        queue.Publish();
        Assert.True(again.TryCollect(out UsedChain used));
        Assert.Equal(id, used.Id);
        queue.Dispose();
    }

    private static bool TryCreate(RingRig rig, QueueConfiguration configuration, out GuestFault fault)
    {
        bool created = VirtQueue.TryCreate(configuration, rig.Memory, rig.Signals, out VirtQueue? queue, out fault);
        queue?.Dispose();
        return created;
    }
}
