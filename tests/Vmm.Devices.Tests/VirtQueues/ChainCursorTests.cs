using System.Runtime.InteropServices;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

public sealed class ChainCursorTests
{
    private const ulong Start = RingRig.BufferStart;
    /// <summary>Buffers that lie one behind the other would be one piece.</summary>
    private const ulong Apart = 64;
    private static readonly RingShape Split = new(false, false, false);

    [StructLayout(LayoutKind.Sequential, Pack = 1)]
    private struct Header
    {
        public uint Type;
        public ushort Flags;
        public ulong Sector;
    }

    [Fact]
    public void A_structure_reads_the_same_wherever_it_is_cut()
    {
        Header header = new() { Type = 0x01020304, Flags = 0x0506, Sector = 0x0708090a0b0c0d0e };
        int size = Marshal.SizeOf<Header>();
        for (int first = 0; first <= size; first++)
        {
            for (int second = first; second <= size; second++)
            {
                using RingRig rig = new(Split);
                ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(new ReadOnlySpan<Header>(in header));
                Assert.True(rig.Memory.TryWrite(Start, bytes[..first]));
                Assert.True(rig.Memory.TryWrite(Start + Apart, bytes[first..second]));
                Assert.True(rig.Memory.TryWrite(Start + (2 * Apart), bytes[second..]));
                rig.Add([new(Start, (uint)first), new(Start + Apart, (uint)(second - first)), new(Start + (2 * Apart), (uint)(size - second + 1))], []);
                rig.Driver.Publish();
                ChainReader reader = rig.Pop().Readable;
                Assert.True(reader.TryRead(out Header read));
                Assert.Equal(header, read);
                Assert.Equal(1u, reader.Remaining);
                Assert.False(reader.TryRead(out ushort _));
                Assert.Equal(1u, reader.Remaining);
                Assert.True(reader.TryRead(out byte _));
                Assert.False(reader.TryRead(out byte _));
            }
        }
    }

    [Fact]
    public void A_structure_is_written_across_cuts_or_not_at_all()
    {
        using RingRig rig = new(Split);
        rig.Add([], [new(Start, 3), new(Start + 100, 9)]);
        rig.Driver.Publish();
        ChainWriter writer = rig.Pop().Writable;
        Assert.True(writer.TryWrite(0x0102030405060708UL));
        Assert.False(writer.TryWrite(0x1111111111111111UL));
        Assert.Equal(4u, writer.Remaining);
        Assert.True(writer.TryWrite(0x0a0b0c0du));
        Assert.Equal(0u, writer.Remaining);
        byte[] bytes = new byte[109];
        Assert.True(rig.Memory.TryRead(Start, bytes));
        Assert.Equal([8, 7, 6], bytes[..3]);
        Assert.Equal([5, 4, 3, 2, 1, 0xd, 0xc, 0xb, 0xa], bytes[100..]);
        Assert.All(bytes[3..100], each => Assert.Equal(0, each));
    }

    [Fact]
    public void The_last_bytes_can_be_cut_off_across_buffers()
    {
        using RingRig rig = new(Split);
        rig.Add([], [new(Start, 4), new(Start + 5, 4), new(Start + 10, 1)]);
        rig.Driver.Publish();
        ChainWriter data = rig.Pop().Writable;
        Assert.False(data.TryCutLast(10, out _));
        Assert.True(data.TryCutLast(2, out ChainWriter status));
        Assert.Equal(7u, data.Remaining);
        Assert.Equal(2u, status.Remaining);
        Assert.Equal(7, data.CopyFrom(new byte[] { 1, 2, 3, 4, 5, 6, 7, 8, 9 }));
        Assert.True(status.TryWrite((ushort)0xfefd));
        byte[] bytes = new byte[11];
        Assert.True(rig.Memory.TryRead(Start, bytes));
        Assert.Equal([1, 2, 3, 4, 0, 5, 6, 7, 0xfd, 0, 0xfe], bytes);
    }

    [Fact]
    public void Parts_and_skips_never_pass_the_end()
    {
        using RingRig rig = new(Split);
        rig.Add([new(Start, 10), new(Start + Apart, 10)], []);
        rig.Driver.Publish();
        Assert.True(rig.Memory.TryWrite(Start, [.. Enumerable.Range(0, 10).Select(i => (byte)i)]));
        Assert.True(rig.Memory.TryWrite(Start + Apart, [.. Enumerable.Range(10, 10).Select(i => (byte)i)]));
        ChainReader reader = rig.Pop().Readable;
        Assert.True(reader.TrySkip(8));
        Assert.False(reader.TrySkip(13));
        Assert.True(reader.TryTake(4, out ChainReader part));
        Assert.False(reader.TryTake(9, out _));
        byte[] bytes = new byte[8];
        Assert.Equal(4, part.CopyTo(bytes));
        Assert.Equal([8, 9, 10, 11], bytes[..4]);
        Assert.False(part.TryNext(out _));
        Assert.True(reader.TryNext(out ReadOnlySpan<byte> span, 3));
        Assert.Equal([12, 13, 14], span.ToArray());
        Assert.True(reader.TryNext(out span));
        Assert.Equal([15, 16, 17, 18, 19], span.ToArray());
        Assert.False(reader.TryNext(out _));
        Assert.True(reader.TrySkip(0));
    }

    [Theory]
    [InlineData(0, 24, 3, 24)]
    [InlineData(0, 5, 1, 5)]
    [InlineData(8, 8, 2, 8)]
    [InlineData(6, 6, 1, 6)]
    [InlineData(5, 6, 2, 6)]
    [InlineData(20, 100, 1, 4)]
    [InlineData(24, 1, 0, 0)]
    [InlineData(30, 1, 0, 0)]
    public void Vectors_describe_any_range(ulong skip, ulong length, int vectorsExpected, ulong bytesExpected)
    {
        using RingRig rig = new(Split);
        rig.Add([new(Start, 8), new(Start + 1000, 8), new(Start + 2000, 10)], []);
        rig.Driver.Publish();
        ChainReader reader = rig.Pop().Readable;
        Assert.True(reader.TrySkip(2));
        IoVector[] vectors = new IoVector[4];
        Assert.Equal(vectorsExpected, reader.FillVectors(vectors, skip, length, out ulong described));
        Assert.Equal(bytesExpected, described);
        Assert.Equal(bytesExpected, (ulong)vectors.Sum(vector => (long)vector.Length));
        if (vectorsExpected > 0)
        {
            ulong position = skip + 2;
            ulong address = position < 8 ? Start + position : position < 16 ? Start + 1000 + position - 8 : Start + 2000 + position - 16;
            Assert.Equal(rig.Memory.Regions[0].HostAddress + (nint)address, vectors[0].Address);
        }
    }

    [Fact]
    public void Too_few_vectors_describe_the_start()
    {
        using RingRig rig = new(Split);
        rig.Add([new(Start, 8), new(Start + 1000, 8), new(Start + 2000, 10)], []);
        rig.Driver.Publish();
        Assert.Equal(2, rig.Pop().Readable.FillVectors(new IoVector[2], 0, ulong.MaxValue, out ulong described));
        Assert.Equal(16u, described);
    }

    [Fact]
    public void A_buffer_of_4_GiB_is_described_whole_and_seen_in_spans_that_fit()
    {
        const ulong length = (1UL << 32) - 4096;
        using GuestMemory memory = GuestMemory.Create(1UL << 33);
        GuestAllocator allocator = new(4096, 1 << 20);
        using DriverQueue driver = DriverQueue.Create(memory, allocator, 8, 0);
        Assert.True(VirtQueue.TryCreate(driver.Configuration(), memory, new SignalCounter(), out VirtQueue? device, out _));
        using VirtQueue queue = device;
        Assert.True(driver.TryAdd([], [new(1UL << 32, (uint)length)], out _));
        driver.Publish();
        Assert.True(queue.TryPop(out DescriptorChain? chain));
        Assert.Equal(length, chain.WritableLength);
        IoVector[] vectors = new IoVector[2];
        Assert.Equal(1, chain.Writable.FillVectors(vectors, 0, length, out ulong described));
        Assert.Equal(length, described);
        ulong seen = 0;
        for (ChainWriter writer = chain.Writable; writer.TryNext(out Span<byte> span);) seen += (ulong)span.Length;
        Assert.Equal(length, seen);
        ChainWriter last = chain.Writable;
        Assert.True(last.TrySkip(length - 1));
        Assert.True(last.TryWrite((byte)0x5a));
        byte[] end = new byte[1];
        Assert.True(memory.TryRead((1UL << 32) + length - 1, end));
        Assert.Equal(0x5a, end[0]);
    }
}
