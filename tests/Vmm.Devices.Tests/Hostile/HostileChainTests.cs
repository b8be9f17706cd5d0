using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>Chains no driver may build, on every kind of ring. The queue says what is wrong, once, and stops; nothing else happens.</summary>
public sealed class HostileChainTests
{
    private const ulong Buffer = RingRig.BufferStart;
    /// <summary>As long as a buffer can be beside others in a chain of at most 2^32 bytes.</summary>
    private const uint Nearly4GiB = uint.MaxValue - 64;

    private const ushort Next = 1, Write = 2, Indirect = 4;

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    [Trait("Source", "virtio 1.2 § 2.7.5; CVE-2016-7422 (QEMU: large descriptor length)")]
    [Trait("Outcome", "needs reset")]
    public void Buffers_that_are_not_in_guest_memory_are_refused(RingShape shape)
    {
        foreach (GuestBuffer outside in (GuestBuffer[])
        [
            new(RingRig.MemoryLength, 1), // behind the last region
            new(RingRig.MemoryLength - 1, 2), // straddles its end
            new(0xfee0_0000, 16), // where a machine has device registers
            new(0, Nearly4GiB), // in less memory
            new(RingRig.MemoryLength - 1, Nearly4GiB),
            new(ulong.MaxValue, 1),
            new(ulong.MaxValue, 2), // wraps to address 0
            new(ulong.MaxValue - 15, Nearly4GiB),
            new(unchecked(0 - RingRig.MemoryLength), (uint)RingRig.MemoryLength + 16),
        ])
        {
            foreach (bool writable in (bool[])[false, true])
            {
                using RingRig rig = new(shape);
                rig.Add([new GuestBuffer(Buffer, 16)], []);
                if (writable) rig.Add([new GuestBuffer(Buffer, 16)], [new GuestBuffer(Buffer, 16), outside]);
                else rig.Add([new GuestBuffer(Buffer, 16), outside], [new GuestBuffer(Buffer, 16)]);
                rig.Driver.Publish();
                rig.Device.Push(rig.Pop(), 0);
                rig.ExpectFault(GuestFaultKind.BufferAddress);
            }
        }
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    [Trait("Source", "a buffer that leaves a region where another begins, or begins after a hole: two mappings of the host's, with anything between them")]
    [Trait("Outcome", "served in pieces, or needs reset")]
    public void Buffers_over_the_border_of_two_regions_are_cut_and_over_a_hole_refused(RingShape shape)
    {
        const ulong Length = 1 << 20;
        using RingRig rig = new(shape);
        Assert.True(rig.Memory.TryAdd(GuestRegion.Create(RingRig.MemoryLength, Length), out _));
        Assert.True(rig.Memory.TryAdd(GuestRegion.Create(RingRig.MemoryLength + 2 * Length, Length), out _));
        rig.Add([new GuestBuffer(RingRig.MemoryLength - 8, 24)], [new GuestBuffer(RingRig.MemoryLength - 8, 24)]);
        rig.Add([new GuestBuffer(RingRig.MemoryLength + Length - 8, (uint)Length + 16)], []);
        rig.Driver.Publish();
        DescriptorChain chain = rig.Pop();
        Assert.Equal((24u, 24u, 2, 2), (chain.ReadableLength, chain.WritableLength, chain.ReadableSegments, chain.WritableSegments));
        rig.Device.Push(chain, 0);
        rig.ExpectFault(GuestFaultKind.BufferAddress);
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    [Trait("Source", "virtio 1.2 § 2.7.5 does not forbid them; CVE-2016-6490 (QEMU: an endless loop over descriptors of length 0)")]
    [Trait("Outcome", "passed over")]
    public void Descriptors_without_bytes_are_passed_over_wherever_they_point(RingShape shape)
    {
        using RingRig rig = new(shape);
        rig.Add([new(ulong.MaxValue, 0), new(Buffer, 8), new(0, 0)], [new(1UL << 60, 0), new(Buffer + 64, 4)]);
        rig.Add([new(ulong.MaxValue, 0)], []);
        rig.Driver.Publish();
        DescriptorChain chain = rig.Pop(), nothing = rig.Pop();
        Assert.Equal((8u, 4u), (chain.ReadableLength, chain.WritableLength));
        Assert.Equal((1, 1), (chain.ReadableSegments, chain.WritableSegments));
        Assert.Equal((0u, 0u), (nothing.ReadableLength, nothing.WritableLength));
        Assert.False(nothing.Readable.TryNext(out _));
        Assert.False(nothing.Writable.TryWrite((byte)1));
        rig.Device.Push(chain, 0);
        rig.Device.Push(nothing, 0);
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    [Trait("Source", "virtio 1.2 § 2.7.5.2: a chain holds at most 2^32 bytes; one page named over and over claims gigabytes")]
    [Trait("Outcome", "needs reset")]
    public void A_chain_of_more_than_4_GiB_is_refused_however_little_memory_it_names(RingShape shape)
    {
        using GuestMemory memory = GuestMemory.Create(2UL << 30);
        GuestBuffer half = new(0, 1u << 31);
        foreach ((GuestBuffer[] chain, bool allowed) in ((GuestBuffer[], bool)[])[([half, half], true), ([half, half, new(0, 1)], false), ([half, half, half, half], false)])
        {
            SignalCounter signals = new();
            using DriverQueue driver = DriverQueue.Create(memory, new GuestAllocator(4096, 1 << 20), 8, shape.Features);
            Assert.True(VirtQueue.TryCreate(driver.Configuration(), memory, signals, out VirtQueue? queue, out _));
            Assert.True(driver.TryAdd(chain, [], out _));
            driver.Publish();
            Assert.Equal(allowed, queue.TryPop(out DescriptorChain? popped));
            if (popped is not null)
            {
                Assert.Equal(1UL << 32, popped.ReadableLength);
                queue.Push(popped, 0);
            }
            Assert.Equal(allowed ? GuestFaultKind.None : GuestFaultKind.ChainLength, queue.FirstFault.Kind);
            queue.Dispose();
        }
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    [Trait("Source", "virtio 1.2 § 2.7.4.2")]
    [Trait("Outcome", "needs reset")]
    public void A_readable_buffer_after_a_writable_one_is_refused(RingShape shape)
    {
        using RingRig rig = new(shape);
        PokeChain(rig, shape, [(Buffer, 8, Write), (Buffer, 8, 0)]);
        rig.ExpectFault(GuestFaultKind.BufferOrder);
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    [Trait("Source", "virtio 1.2 § 2.7.5.3.1 and § 2.8.7: no chain is longer than the queue")]
    [Trait("Outcome", "needs reset")]
    public void A_chain_that_never_ends_is_left_after_queue_size_descriptors(RingShape shape)
    {
        using RingRig rig = new(shape);
        if (shape.Packed)
        {
            for (int i = 0; i < rig.Driver.Size; i++) rig.Packed.WriteDescriptor(i, Buffer, 8, 0, (ushort)(Next | rig.Packed.AvailableFlags));
        }
        else
        {
            rig.Split.WriteDescriptor(0, Buffer, 8, Next, 1);
            rig.Split.WriteDescriptor(1, Buffer, 8, Next, 0);
            rig.Split.MakeAvailable(0);
        }
        rig.ExpectFault(GuestFaultKind.ChainLength);
    }

    [Fact]
    [Trait("Source", "virtio 1.2 § 2.7.5.3.1")]
    [Trait("Outcome", "needs reset")]
    public void A_split_descriptor_that_is_its_own_successor_is_left()
    {
        using RingRig rig = new(new RingShape(false, false, true));
        rig.Split.WriteDescriptor(3, Buffer, 0, Next, 3);
        rig.Split.MakeAvailable(3);
        rig.ExpectFault(GuestFaultKind.ChainLength);
    }

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    [Trait("Source", "virtio 1.2 § 2.7.5.3.1: as long as the queue is allowed")]
    [Trait("Outcome", "served")]
    public void A_chain_as_long_as_the_queue_is_served(RingShape shape)
    {
        using RingRig rig = new(shape);
        rig.Add([.. Enumerable.Repeat(new GuestBuffer(Buffer, 8), rig.Driver.Size)], []);
        rig.Driver.Publish();
        Assert.Equal(8u * rig.Driver.Size, rig.Pop().ReadableLength);
    }

    [Theory]
    [InlineData(16)]
    [InlineData(0x7fff)]
    [InlineData(0xffff)]
    [Trait("Source", "virtio 1.2 § 2.7.5")]
    [Trait("Outcome", "needs reset")]
    public void A_split_successor_beyond_the_table_is_refused(ushort next)
    {
        using RingRig rig = new(new RingShape(false, false, true));
        rig.Split.WriteDescriptor(0, Buffer, 8, Next, next);
        rig.Split.MakeAvailable(0);
        rig.ExpectFault(GuestFaultKind.DescriptorIndex);
    }

    [Theory]
    [InlineData(16)]
    [InlineData(0xffff)]
    [Trait("Source", "virtio 1.2 § 2.7.6; microsoft/openvmm pull 3136")]
    [Trait("Outcome", "needs reset")]
    public void A_split_head_beyond_the_table_is_refused(ushort head)
    {
        using RingRig rig = new(new RingShape(false, true, true));
        rig.Split.MakeAvailable(head);
        rig.ExpectFault(GuestFaultKind.DescriptorIndex);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Source", "virtio 1.2 § 2.7.5.3.1 and § 2.8.7")]
    [Trait("Outcome", "needs reset")]
    public void An_indirect_table_in_an_indirect_table_is_refused(bool packed)
    {
        using RingRig rig = new(new RingShape(packed, false, true));
        PokeTable(rig, Buffer, [(Buffer, 16, Indirect)]);
        PokeChain(rig, new RingShape(packed, false, false), [(Buffer, 16, Indirect)]);
        rig.ExpectFault(GuestFaultKind.IndirectTable);
    }

    [Theory]
    [InlineData(false, 0)]
    [InlineData(false, 8)]
    [InlineData(false, 17)]
    [InlineData(false, 16 * 65537)]
    [InlineData(false, uint.MaxValue)]
    [InlineData(true, 0)]
    [InlineData(true, 8)]
    [InlineData(true, 17)]
    [InlineData(true, 16 * 65537)]
    [InlineData(true, uint.MaxValue)]
    [Trait("Source", "virtio 1.2 § 2.7.5.3")]
    [Trait("Outcome", "needs reset")]
    public void An_indirect_table_of_a_wrong_length_is_refused(bool packed, uint length)
    {
        using RingRig rig = new(new RingShape(packed, false, true));
        PokeTable(rig, Buffer, [(Buffer, 16, 0)]);
        PokeChain(rig, new RingShape(packed, false, false), [(Buffer, length, Indirect)]);
        rig.ExpectFault(GuestFaultKind.IndirectTable);
    }

    [Theory]
    [InlineData(false, RingRig.MemoryLength)]
    [InlineData(false, RingRig.MemoryLength - 16)]
    [InlineData(false, ulong.MaxValue - 15)]
    [InlineData(true, RingRig.MemoryLength)]
    [InlineData(true, RingRig.MemoryLength - 16)]
    [InlineData(true, ulong.MaxValue - 15)]
    [Trait("Source", "virtio 1.2 § 2.7.5.3")]
    [Trait("Outcome", "needs reset")]
    public void An_indirect_table_outside_of_memory_is_refused(bool packed, ulong address)
    {
        using RingRig rig = new(new RingShape(packed, false, true));
        PokeChain(rig, new RingShape(packed, false, false), [(address, 32, Indirect)]);
        rig.ExpectFault(GuestFaultKind.IndirectTable);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Source", "virtio 1.2 § 2.7.5.3.1")]
    [Trait("Outcome", "needs reset")]
    public void An_indirect_table_that_was_not_negotiated_is_refused(bool packed)
    {
        using RingRig rig = new(new RingShape(packed, false, false));
        PokeTable(rig, Buffer, [(Buffer, 16, 0)]);
        PokeChain(rig, new RingShape(packed, false, false), [(Buffer, 16, Indirect)]);
        rig.ExpectFault(GuestFaultKind.IndirectTable);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Source", "virtio 1.2 § 2.7.5.3.1")]
    [Trait("Outcome", "needs reset")]
    public void An_indirect_descriptor_with_a_successor_is_refused(bool packed)
    {
        using RingRig rig = new(new RingShape(packed, false, true));
        PokeTable(rig, Buffer, [(Buffer, 16, 0)]);
        PokeChain(rig, new RingShape(packed, false, false), [(Buffer, 16, Indirect), (Buffer, 16, 0)]);
        rig.ExpectFault(GuestFaultKind.IndirectTable);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Source", "virtio 1.2 § 2.7.5.3.2: the device ignores it")]
    [Trait("Outcome", "ignored")]
    public void A_write_flag_on_an_indirect_descriptor_means_nothing(bool packed)
    {
        using RingRig rig = new(new RingShape(packed, false, true));
        PokeTable(rig, Buffer, [(Buffer, 24, 0)]);
        PokeChain(rig, new RingShape(packed, false, false), [(Buffer, 16, Indirect | Write)]);
        DescriptorChain chain = rig.Pop();
        Assert.Equal((24u, 0u), (chain.ReadableLength, chain.WritableLength));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Source", "virtio 1.2 § 2.7.5.3.2: a device handles direct descriptors that end in an indirect one")]
    [Trait("Outcome", "served")]
    public void Direct_descriptors_may_end_in_an_indirect_one(bool packed)
    {
        using RingRig rig = new(new RingShape(packed, false, true));
        PokeTable(rig, Buffer, [(Buffer, 24, 0), (Buffer, 100, Write)]);
        PokeChain(rig, new RingShape(packed, false, false), [(Buffer, 8, 0), (Buffer, 32, Indirect)]);
        DescriptorChain chain = rig.Pop();
        Assert.Equal((32u, 100u), (chain.ReadableLength, chain.WritableLength));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Source", "virtio 1.2 § 2.7.5.3.1; oxidecomputer/propolis pull 1188")]
    [Trait("Outcome", "needs reset")]
    public void A_chain_in_a_table_is_bounded(bool packed)
    {
        using RingRig rig = new(new RingShape(packed, false, true), size: 4);
        uint entries = VirtQueue.ChainDescriptorsMax + 1;
        for (uint i = 0; i < entries; i++) rig.Memory.TryWrite(Buffer + (i * 16), DescriptorBytes(Buffer, 8, packed ? 0 : Next | ((i + 1) << 16)));
        PokeChain(rig, new RingShape(packed, false, false), [(Buffer, entries * 16, Indirect)]);
        rig.ExpectFault(GuestFaultKind.ChainLength);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Source", "Linux: a table is filled up to the device's segment limit, also where the ring is shorter")]
    [Trait("Outcome", "served")]
    public void A_table_longer_than_its_ring_is_served(bool packed)
    {
        using RingRig rig = new(new RingShape(packed, false, true), size: 4);
        PokeTable(rig, Buffer, [.. Enumerable.Repeat((Buffer, 8u, (ushort)0), 5)]);
        PokeChain(rig, new RingShape(packed, false, false), [(Buffer, 5 * 16, Indirect)]);
        Assert.Equal(40u, rig.Pop().ReadableLength);
    }

    [Fact]
    [Trait("Source", "virtio 1.2 § 2.7.5.3")]
    [Trait("Outcome", "needs reset")]
    public void A_loop_in_a_split_table_is_left()
    {
        using RingRig rig = new(new RingShape(false, false, true));
        rig.Memory.TryWrite(Buffer, DescriptorBytes(Buffer, 8, (uint)Next | (1u << 16)));
        rig.Memory.TryWrite(Buffer + 16, DescriptorBytes(Buffer, 8, Next));
        PokeChain(rig, new RingShape(false, false, false), [(Buffer, 32, Indirect)]);
        rig.ExpectFault(GuestFaultKind.ChainLength);
    }

    [Fact]
    [Trait("Source", "virtio 1.2 § 2.7.5.3")]
    [Trait("Outcome", "needs reset")]
    public void A_successor_beyond_a_split_table_is_refused()
    {
        using RingRig rig = new(new RingShape(false, false, true));
        rig.Memory.TryWrite(Buffer, DescriptorBytes(Buffer, 8, (uint)Next | (1u << 16)));
        PokeChain(rig, new RingShape(false, false, false), [(Buffer, 16, Indirect)]);
        rig.ExpectFault(GuestFaultKind.DescriptorIndex);
    }

    internal static void PokeChain(RingRig rig, RingShape shape, ReadOnlySpan<(ulong Address, uint Length, ushort Flags)> chain)
    {
        if (shape.Indirect) RawDriver.PokeIndirectChain(rig.Driver, Buffer, chain);
        else RawDriver.PokeChain(rig.Driver, chain);
    }

    private static void PokeTable(RingRig rig, ulong address, ReadOnlySpan<(ulong Address, uint Length, ushort Flags)> entries) =>
        RawDriver.PokeTable(rig.Driver, address, entries);

    private static byte[] DescriptorBytes(ulong address, uint length, uint tail) => RawDriver.DescriptorBytes(address, length, tail);
}
