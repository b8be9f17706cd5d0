using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>The driver's side, where the device or the test itself is wrong.</summary>
public sealed class DriverQueueTests
{
    private static readonly GuestBuffer Buffer = new(RingRig.BufferStart, 8);

    [Theory]
    [InlineData(1)]
    [InlineData(16)]
    [InlineData(uint.MaxValue)]
    public void A_split_device_that_gives_back_what_it_never_got_is_found_out(uint id)
    {
        using RingRig rig = new(new RingShape(false, false, false));
        rig.Add([Buffer], []);
        Assert.True(rig.Memory.TryWrite(rig.Driver.DeviceRing, [0, 0, 1, 0, .. BitConverter.GetBytes(id), 0, 0, 0, 0]));
        Assert.Throws<InvalidDataException>(() => rig.Driver.TryCollect(out _));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(16)]
    [InlineData(0xffff)]
    public void A_packed_device_that_gives_back_what_it_never_got_is_found_out(ushort id)
    {
        using RingRig rig = new(new RingShape(true, false, false));
        rig.Add([Buffer], []);
        rig.Packed.WriteDescriptor(0, 0, 0, id, 0x8080);
        Assert.Throws<InvalidDataException>(() => rig.Driver.TryCollect(out _));
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    public void A_chain_of_no_buffers_or_of_too_many_is_refused(RingShape shape)
    {
        using RingRig rig = new(shape, size: 4);
        Assert.Throws<ArgumentException>(() => rig.Driver.TryAdd([], [], out _));
        Assert.Throws<ArgumentException>(() => rig.Driver.TryAdd([Buffer, Buffer, Buffer], [Buffer, Buffer], out _));
        Assert.True(rig.Driver.TryAdd([Buffer, Buffer], [Buffer, Buffer], out _));
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    public void A_full_ring_takes_nothing_until_something_is_collected(RingShape shape)
    {
        using RingRig rig = new(shape, size: 4);
        int added = 0;
        while (rig.Driver.TryAdd([Buffer, Buffer], [], out _)) added++;
        Assert.Equal(shape.Indirect ? 4 : 2, added);
        Assert.Equal(0, rig.Driver.Free);
        Assert.Equal(added, rig.Driver.InFlight);
        rig.Driver.Publish();
        rig.Device.Push(rig.Pop(), 0);
        rig.Device.Publish();
        Assert.True(rig.Driver.HasUsed);
        Assert.False(rig.Driver.TryAdd([Buffer], [], out _));
        rig.Collect();
        Assert.True(rig.Driver.TryAdd([Buffer], [], out _));
    }

    [Fact]
    public void Blocks_of_guest_memory_are_aligned_apart_and_used_again()
    {
        GuestAllocator allocator = new(100, 64 << 10);
        List<(ulong Start, uint Length)> blocks = [];
        foreach (uint length in (uint[])[1, 16, 17, 100, 4096, 5000, 8192]) blocks.Add((allocator.Allocate(length), length));
        Assert.All(blocks, block => Assert.Equal(0u, block.Start % Math.Min(4096, block.Length < 16 ? 16u : System.Numerics.BitOperations.RoundUpToPowerOf2(block.Length))));
        blocks.Sort();
        for (int i = 1; i < blocks.Count; i++) Assert.True(blocks[i].Start >= blocks[i - 1].Start + blocks[i - 1].Length);
        Assert.True(blocks[0].Start >= 100);
        allocator.Free(blocks[3].Start, blocks[3].Length);
        Assert.Equal(blocks[3].Start, allocator.Allocate(blocks[3].Length));
        Assert.Throws<InvalidOperationException>(() => allocator.Allocate(1 << 20));
    }
}
