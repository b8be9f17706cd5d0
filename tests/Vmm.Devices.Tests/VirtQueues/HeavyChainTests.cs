using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>Chains of very many buffers: what they cost is bounded, in memory and in a turn, and what lies together is one piece.</summary>
public sealed class HeavyChainTests
{
    private const ulong Page = 4096;
    private static readonly RingShape Split = new(false, false, true), Packed = new(true, false, true);

    public static TheoryData<RingShape> Shapes => [Split, Packed];

    [Theory, MemberData(nameof(Shapes))]
    public void Buffers_one_behind_the_other_are_one_piece_in_each_part(RingShape shape)
    {
        using RingRig rig = new(shape, size: 16);
        ulong start = RingRig.BufferStart;
        rig.Add([new(start, 10), new(start + 10, 20), new(start + 30, 2)], [new(start + 32, 8), new(start + 40, 8), new(start + 64, 8)]);
        rig.Driver.Publish();
        DescriptorChain chain = rig.Pop();
        Assert.Equal((1, 32ul), (chain.ReadableSegments, chain.ReadableLength));
        Assert.Equal((2, 24ul), (chain.WritableSegments, chain.WritableLength));
        IoVector[] vectors = new IoVector[3];
        Assert.Equal(2, chain.Writable.FillVectors(vectors, 0, 24, out _));
        Assert.Equal([16u, 8u], vectors[..2].Select(vector => (uint)vector.Length));
    }

    /// <summary>Regions follow each other in the guest, and by chance in the host too: the host's order is none of the guest's.</summary>
    [Fact]
    public void A_buffer_across_regions_is_a_piece_for_each()
    {
        using GuestMemory memory = GuestMemory.Create(RingRig.MemoryLength);
        for (ulong i = 0; i < 4; i++) Assert.True(memory.TryAdd(GuestRegion.Create(RingRig.MemoryLength + (i * Page), Page), out _));
        using DriverQueue driver = DriverQueue.Create(memory, new GuestAllocator(Page, 1 << 20), 8, 0);
        Assert.True(VirtQueue.TryCreate(driver.Configuration(), memory, new SignalCounter(), out VirtQueue? device, out _));
        using VirtQueue queue = device;
        Assert.True(driver.TryAdd([new(RingRig.MemoryLength + 100, (uint)(3 * Page))], [], out _));
        driver.Publish();
        Assert.True(queue.TryPop(out DescriptorChain? chain));
        Assert.Equal((4, 3 * Page), (chain.ReadableSegments, chain.ReadableLength));
    }

    /// <summary>Regions that are mapped one after the other lie together in the host, in any order; in the guest these lie apart.</summary>
    [Theory, MemberData(nameof(Shapes))]
    public void Buffers_that_meet_only_in_the_host_are_two_pieces(RingShape shape)
    {
        using RingRig rig = new(shape);
        GuestRegion[] regions = [.. Enumerable.Range(1, 16).Select(i => GuestRegion.Create((ulong)i << 30, Page))];
        foreach (GuestRegion region in regions) Assert.True(rig.Memory.TryAdd(region, out _));
        GuestRegion before = regions.First(one => regions.Any(other => other.HostAddress == one.HostAddress + (nint)Page));
        GuestRegion after = regions.First(one => one.HostAddress == before.HostAddress + (nint)Page);
        GuestBuffer[] buffers = [new(before.GuestAddress + Page - 8, 8), new(before.GuestAddress + 64, 0), new(after.GuestAddress, 8)];
        rig.Add([], buffers);
        rig.Driver.Publish();
        DescriptorChain chain = rig.Pop();
        Assert.Equal((2, 16ul), (chain.WritableSegments, chain.WritableLength));
        ReadOnlySpan<GuestSpan> spans = chain.WritableSpans;
        Assert.Equal((buffers[0].Address, buffers[2].Address), (spans[0].Guest, spans[1].Guest));
    }

    /// <summary>508 regions of one byte, and buffers over all of them: 64 such requests took 1.5 GiB, and held a neighbour up for half a second.</summary>
    [Theory, MemberData(nameof(Shapes))]
    public void A_chain_over_many_regions_again_and_again_is_a_fault(RingShape shape)
    {
        using GuestMemory memory = GuestMemory.Create(RingRig.MemoryLength);
        for (ulong i = 0; i < 500; i++) Assert.True(memory.TryAdd(TinyRegion(RingRig.MemoryLength + i), out _));
        using DriverQueue driver = DriverQueue.Create(memory, new GuestAllocator(Page, 1 << 20), 16, shape.Features);
        SignalCounter signals = new();
        Assert.True(VirtQueue.TryCreate(driver.Configuration(), memory, signals, out VirtQueue? device, out _));
        using VirtQueue queue = device;
        Assert.True(driver.TryAdd([.. Enumerable.Repeat(new GuestBuffer(RingRig.MemoryLength, 500), 3)], [], out _));
        driver.Publish();
        Assert.True(queue.TryPop(out DescriptorChain? legal), queue.FirstFault.Text);
        Assert.Equal(1500, legal.ReadableSegments);
        queue.Push(legal, 0);
        queue.Publish();
        Assert.True(driver.TryCollect(out _));
        Assert.True(driver.TryAdd([.. Enumerable.Repeat(new GuestBuffer(RingRig.MemoryLength, 500), 4)], [], out _));
        driver.Publish();
        Assert.False(queue.TryPop(out _));
        Assert.Equal(QueueFaults.Segments, queue.FirstFault);
    }

    [Fact]
    public void A_chain_of_many_buffers_uses_up_more_of_a_turn()
    {
        using RingRig rig = new(Split, size: 16);
        for (int i = 0; i < 16; i++) AddTable(rig, i, buffers: 1024, length: 1);
        rig.Device.Turn.Begin();
        int taken = 0;
        while (rig.Device.TryPop(out DescriptorChain? chain))
        {
            taken++;
            rig.Device.Unpop(chain);
            rig.Device.Push(rig.Pop(), 0);
        }
        Assert.InRange(taken, 2, 8);
        rig.Device.Turn.Begin();
        Assert.True(rig.Device.TryPop(out _));
    }

    [Fact]
    public void With_too_much_in_flight_a_queue_gives_nothing_until_some_of_it_is_back()
    {
        using RingRig rig = new(Split, size: 512);
        for (int i = 0; i < 512; i++) AddTable(rig, i, buffers: 1024, length: 1);
        int calls = 0;
        rig.Device.OnRoom = () => calls++;
        Stack<DescriptorChain> inFlight = new();
        while (rig.Device.TryPop(out DescriptorChain? chain)) inFlight.Push(chain);
        // 4 MiB of 16 bytes each, 1024 a chain.
        Assert.InRange(inFlight.Count, 200, 300);
        Assert.Equal(0, calls);
        int total = inFlight.Count;
        while (total < 512)
        {
            while (calls == 0) rig.Device.Push(inFlight.Pop(), 0);
            calls = 0;
            while (rig.Device.TryPop(out DescriptorChain? chain))
            {
                inFlight.Push(chain);
                total++;
            }
        }
        while (inFlight.TryPop(out DescriptorChain? chain)) rig.Device.Push(chain, 0);
        Assert.Equal(GuestFaultKind.None, rig.Device.FirstFault.Kind);
    }

    [Fact]
    public void What_heavy_chains_needed_is_given_back()
    {
        using RingRig rig = new(Split, size: 256);
        for (int i = 0; i < 256; i++) AddTable(rig, i, buffers: 1024, length: 1);
        Stack<DescriptorChain> inFlight = new();
        while (rig.Device.TryPop(out DescriptorChain? chain)) inFlight.Push(chain);
        Assert.InRange(rig.Device.Grown, 256 * 1000, 256 * 1024);
        while (inFlight.TryPop(out DescriptorChain? chain)) rig.Device.Push(chain, 0);
        Assert.InRange(rig.Device.Grown, 1, 1 << 16);
    }

    /// <summary>A request of one indirect table whose buffers do not lie one behind the other.</summary>
    private static void AddTable(RingRig rig, int number, int buffers, uint length)
    {
        // All tables are the same one: a device only reads them.
        if (number == 0)
        {
            byte[] table = new byte[buffers * 16];
            for (int i = 0; i < buffers; i++)
            {
                BitConverter.TryWriteBytes(table.AsSpan(i * 16), RingRig.BufferStart + ((ulong)(i * 2) * length));
                BitConverter.TryWriteBytes(table.AsSpan((i * 16) + 8), length);
                BitConverter.TryWriteBytes(table.AsSpan((i * 16) + 12), (ushort)(i == buffers - 1 ? 0 : 1));
                BitConverter.TryWriteBytes(table.AsSpan((i * 16) + 14), (ushort)(i + 1));
            }
            Assert.True(rig.Memory.TryWrite(RingRig.BufferStart - (64 << 10), table));
        }
        rig.Split.WriteDescriptor(number, RingRig.BufferStart - (64 << 10), (uint)(buffers * 16), RingLayout.FlagIndirect, 0);
        rig.Split.MakeAvailable((ushort)number);
    }

    private static GuestRegion TinyRegion(ulong address)
    {
        using GuestRegion page = GuestRegion.Create(0, Page);
        Assert.True(GuestRegion.TryMap(page.File.Duplicate(), new RegionLayout(address, 1), out GuestRegion? region, out string? refusal), refusal);
        return region;
    }
}
