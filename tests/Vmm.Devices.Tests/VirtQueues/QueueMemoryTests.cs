using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>Memory that changes under a queue that runs.</summary>
public sealed class QueueMemoryTests
{
    private const ulong Extra = 1UL << 30;

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    [Trait("Source", "CVE-2021-3748 (QEMU: virtio-net, a header written after its memory was let go)")]
    [Trait("Outcome", "the memory stays until it is given back")]
    public void A_region_removed_under_a_chain_stays_until_the_chain_is_pushed(RingShape shape)
    {
        using RingRig rig = new(shape);
        GuestRegion extra = GuestRegion.Create(Extra, 4096);
        Assert.True(rig.Memory.TryAdd(extra, out _));
        rig.Add([], [new(Extra, 8)]);
        rig.Driver.Publish();
        DescriptorChain chain = rig.Pop();
        Assert.True(rig.Memory.Remove(Extra));
        rig.Device.RefreshMemory();
        Assert.True(extra.IsMapped);
        Assert.True(chain.Writable.TryWrite(0x1234UL));
        rig.Device.Push(chain, 8);
        Assert.False(extra.IsMapped);
        rig.Device.Publish();
        rig.Collect();

        rig.Add([], [new(Extra, 8)]);
        rig.Driver.Publish();
        rig.ExpectFault(GuestFaultKind.BufferAddress);
    }

    [Fact]
    public void An_idle_queue_lets_go_of_a_removed_region_when_told()
    {
        using RingRig rig = new(new RingShape(false, false, false));
        GuestRegion extra = GuestRegion.Create(Extra, 4096);
        Assert.True(rig.Memory.TryAdd(extra, out _));
        rig.Device.RefreshMemory();
        Assert.True(rig.Memory.Remove(Extra));
        Assert.True(extra.IsMapped);
        rig.Device.RefreshMemory();
        Assert.False(extra.IsMapped);
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    [Trait("Source", "rings whose memory goes away")]
    [Trait("Outcome", "needs reset")]
    public void Memory_removed_under_the_ring_is_a_guest_fault_and_no_crash(RingShape shape)
    {
        using RingRig rig = new(shape);
        rig.Add([new(RingRig.BufferStart, 8)], []);
        rig.Add([new(RingRig.BufferStart, 8)], []);
        rig.Driver.Publish();
        DescriptorChain chain = rig.Pop();
        Assert.True(rig.Memory.Remove(0));
        rig.ExpectFault(GuestFaultKind.RingLayout);
        rig.Device.Push(chain, 0);
        rig.Device.Publish();
        rig.Device.EnableKicks();
        rig.Device.DisableKicks();
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    [Trait("Source", "a buffer that is written after its queue was reset")]
    [Trait("Outcome", "the memory stays until it is given back")]
    public void A_queue_disposed_with_chains_in_flight_keeps_their_memory(RingShape shape)
    {
        RingRig rig = new(shape);
        GuestRegion region = rig.Memory.Regions[0];
        rig.Add([new(RingRig.BufferStart, 8)], []);
        rig.Driver.Publish();
        DescriptorChain chain = rig.Pop();
        rig.Dispose();
        Assert.True(region.IsMapped);
        Assert.False(rig.Device.TryPop(out _));
        Assert.True(chain.Readable.TryRead(out ulong _));
        rig.Device.Push(chain, 0);
        rig.Device.Publish();
        Assert.False(region.IsMapped);
    }

    [Fact]
    public void A_buffer_that_goes_on_in_the_next_region_becomes_two_segments()
    {
        using RingRig rig = new(new RingShape(false, false, false));
        Assert.True(rig.Memory.TryAdd(GuestRegion.Create(RingRig.MemoryLength, 4096), out _));
        rig.Add([], [new(RingRig.MemoryLength - 3, 8)]);
        rig.Add([], [new(RingRig.MemoryLength + 4096 - 3, 8)]);
        rig.Driver.Publish();
        DescriptorChain chain = rig.Pop();
        Assert.Equal(2, chain.WritableSegments);
        Assert.True(chain.Writable.TryWrite(0x0807060504030201UL));
        byte[] bytes = new byte[8];
        Assert.True(rig.Memory.TryRead(RingRig.MemoryLength - 3, bytes));
        Assert.Equal([1, 2, 3, 4, 5, 6, 7, 8], bytes);
        rig.ExpectFault(GuestFaultKind.BufferAddress);
    }
}
