using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using Moq;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>The request as a pure function over its chain: no reactor, no file, no thread.</summary>
public sealed class BlockRequestTests : IDisposable
{
    private const ulong AllFeatures = BlockProtocol.FeatureFlush | BlockProtocol.FeatureDiscard | BlockProtocol.FeatureWriteZeroes;
    private const ulong Sectors = 100;

    private readonly GuestMemory _memory = GuestMemory.Create(1 << 20);
    private readonly SimulatedQueue _driver;
    private readonly VirtQueue _queue;
    private readonly BlockOperation _operation = new((_, _) => { });
    private bool _durable;
    private BlockLimits _limits = new()
    {
        CapacitySectors = Sectors,
        IsReadOnly = false,
        DataBytesMax = 1 << 20,
        Features = AllFeatures,
        Serial = [.. "serial"u8, .. new byte[14]],
    };

    public BlockRequestTests()
    {
        GuestAllocator allocator = new(4096, (1 << 20) - 4096);
        DriverQueue ring = DriverQueue.Create(_memory, allocator, 64, 0);
        _driver = new SimulatedQueue(0, _memory, allocator, ring);
        Assert.True(VirtQueue.TryCreate(ring.Configuration(), _memory, Mock.Of<IVirtioInterrupt>(), out VirtQueue? queue, out _));
        _queue = queue;
    }

    public void Dispose()
    {
        _queue.Dispose();
        _driver.Dispose();
        _memory.Dispose();
    }

    [Fact]
    public void The_structures_are_those_of_the_specification()
    {
        Assert.Equal(BlockProtocol.HeaderLength, Unsafe.SizeOf<BlockRequest.Header>());
        Assert.Equal(BlockProtocol.SegmentLength, Unsafe.SizeOf<BlockRequest.Segment>());
    }

    [Fact]
    public void A_read_becomes_an_operation_over_all_its_buffers_wherever_they_are_cut()
    {
        BlockVerdict verdict = Prepare([Header(BlockRequestType.In, 3)], [100, 412, 512, 1]);
        Assert.True(verdict.IsStarted);
        Assert.Equal((BlockOperationKind.Read, 3 * 512UL, 1024UL), (_operation.Kind, _operation.Offset, _operation.Remaining));
        Assert.Equal(1024, _operation.Vectors.ToArray().Sum(vector => (long)vector.Length));
    }

    [Fact]
    public void The_status_may_share_its_buffer_with_the_data_2_7_4()
    {
        Assert.True(Prepare([Header(BlockRequestType.In, 0)], [513]).IsStarted);
        Assert.Equal(512u, _operation.Remaining);
    }

    [Fact]
    public void The_header_may_share_its_buffer_with_the_data_or_be_cut_itself_2_7_4()
    {
        byte[] header = Header(BlockRequestType.Out, 1);
        Assert.True(Prepare([header[..5], [.. header[5..], .. new byte[512]]], [1]).IsStarted);
        Assert.Equal((BlockOperationKind.Write, 512UL, 512UL), (_operation.Kind, _operation.Offset, _operation.Remaining));
    }

    [Theory]
    [InlineData(0, 100, true)]
    [InlineData(99, 1, true)]
    [InlineData(100, 0, true)]
    [InlineData(0, 101, false)]
    [InlineData(99, 2, false)]
    [InlineData(100, 1, false)]
    [InlineData(101, 0, false)]
    [InlineData(ulong.MaxValue, 1, false)]
    [InlineData(ulong.MaxValue / 512 + 1, 1, false)] // times 512 is 0
    public void Sectors_beyond_the_disk_are_an_I_O_error_5_2_6(ulong sector, int sectors, bool isOnDisk)
    {
        BlockVerdict read = Prepare([Header(BlockRequestType.In, sector)], sectors == 0 ? [1] : [sectors * 512, 1]);
        BlockVerdict write = Prepare(sectors == 0 ? [Header(BlockRequestType.Out, sector)] : [Header(BlockRequestType.Out, sector), new byte[sectors * 512]], [1]);
        Assert.Equal(isOnDisk, read.IsStarted);
        Assert.Equal(isOnDisk, write.IsStarted);
        if (!isOnDisk) Assert.Equal((BlockStatus.IoError, BlockStatus.IoError), (read.Status, write.Status));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(511)]
    [InlineData(513)]
    public void Data_that_is_not_whole_sectors_is_an_I_O_error_5_2_6(int bytes)
    {
        Assert.Equal(BlockVerdict.Error, Prepare([Header(BlockRequestType.In, 0)], [bytes, 1]));
        Assert.Equal(BlockVerdict.Error, Prepare([Header(BlockRequestType.Out, 0), new byte[bytes]], [1]));
    }

    [Theory]
    [InlineData(2)]
    [InlineData(10)]
    [InlineData(14)]
    [InlineData(uint.MaxValue)]
    public void An_unknown_request_is_unsupported_5_2_6(uint type) =>
        Assert.Equal(BlockVerdict.Unsupported, Prepare([Header((BlockRequestType)type, 0)], [1]));

    [Fact]
    public void What_was_not_negotiated_is_unsupported_5_2_6_2()
    {
        _limits = _limits with { Features = 0 };
        foreach (BlockRequestType type in (BlockRequestType[])[BlockRequestType.Flush, BlockRequestType.Discard, BlockRequestType.WriteZeroes])
            Assert.Equal(BlockVerdict.Unsupported, Prepare([Header(type, 0), Segment(0, 1)], [1]));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_write_is_durable_where_the_cache_is_off_5_2_6_2(bool writeThrough)
    {
        _durable = writeThrough;
        Assert.True(Prepare([Header(BlockRequestType.Out, 0), new byte[512]], [1]).IsStarted);
        Assert.Equal(writeThrough, _operation.IsDurable);
        foreach (BlockRequestType type in (BlockRequestType[])[BlockRequestType.Discard, BlockRequestType.WriteZeroes])
        {
            Assert.True(Prepare([Header(type, 0), Segment(0, 1)], [1]).IsStarted);
            Assert.Equal(writeThrough, _operation.IsDurable);
        }
    }

    [Fact]
    public void A_read_only_disk_takes_nothing_that_writes_5_2_6_2()
    {
        _limits = _limits with { IsReadOnly = true };
        Assert.Equal(BlockVerdict.Error, Prepare([Header(BlockRequestType.Out, 0), new byte[512]], [1]));
        Assert.Equal(BlockVerdict.Error, Prepare([Header(BlockRequestType.Discard, 0), Segment(0, 1)], [1]));
        Assert.Equal(BlockVerdict.Error, Prepare([Header(BlockRequestType.WriteZeroes, 0), Segment(0, 1)], [1]));
        Assert.True(Prepare([Header(BlockRequestType.In, 0)], [512, 1]).IsStarted);
    }

    [Fact]
    public void A_request_without_a_header_or_a_status_is_the_drivers_fault_5_2_6()
    {
        Assert.Equal(BlockRequest.NoStatus, Prepare([Header(BlockRequestType.In, 0)], []).Fault);
        Assert.Equal(BlockRequest.NoHeader, Prepare([new byte[15]], [1]).Fault);
        Assert.Equal(BlockRequest.NoHeader, Prepare([], [1]).Fault);
    }

    [Fact]
    public void The_serial_number_is_20_bytes_5_2_6()
    {
        byte[] bytes = [];
        BlockVerdict verdict = Prepare([Header(BlockRequestType.GetId, 0)], [20, 1], request => bytes = request.Content);
        Assert.Equal(new BlockVerdict(false, BlockStatus.Ok, 20), verdict);
        Assert.Equal(_limits.Serial, bytes[..20]);
        Assert.Equal(BlockVerdict.Error, Prepare([Header(BlockRequestType.GetId, 0)], [19, 1]));
    }

    [Fact]
    public void Segments_to_discard_are_taken_whole()
    {
        Assert.True(Prepare([Header(BlockRequestType.Discard, 0), [.. Segment(1, 2), .. Segment(10, 90)]], [1]).IsStarted);
        Assert.Equal(BlockOperationKind.Discard, _operation.Kind);
        Assert.Equal([new BlockSegment(512, 1024, false), new BlockSegment(5120, 46080, false)], _operation.Segments.ToArray());
    }

    [Theory]
    [InlineData(BlockRequestType.Discard, 0u, true, BlockStatus.Ok)]
    [InlineData(BlockRequestType.Discard, 1u, false, BlockStatus.Unsupported)]
    [InlineData(BlockRequestType.Discard, 2u, false, BlockStatus.Unsupported)]
    [InlineData(BlockRequestType.WriteZeroes, 0u, true, BlockStatus.Ok)]
    [InlineData(BlockRequestType.WriteZeroes, 1u, true, BlockStatus.Ok)]
    [InlineData(BlockRequestType.WriteZeroes, 3u, false, BlockStatus.Unsupported)]
    public void Flags_of_a_segment_are_checked_5_2_6_2(BlockRequestType type, uint flags, bool started, BlockStatus status)
    {
        BlockVerdict verdict = Prepare([Header(type, 0), Segment(0, 8, flags)], [1]);
        Assert.Equal((started, status), (verdict.IsStarted, verdict.Status));
        if (started) Assert.Equal(flags == 1, _operation.Segments[0].MayUnmap);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(15)]
    [InlineData(17)]
    [InlineData(16 * (BlockRequest.SegmentsMax + 1))]
    public void Segments_in_parts_none_or_too_many_are_an_I_O_error_5_2_6_2(int bytes)
    {
        byte[][] readable = bytes == 0 ? [Header(BlockRequestType.Discard, 0)] : [Header(BlockRequestType.Discard, 0), new byte[bytes]];
        Assert.Equal(BlockVerdict.Error, Prepare(readable, [1]));
    }

    [Theory]
    [InlineData(100ul, 1u)]
    [InlineData(99ul, 2u)]
    [InlineData(ulong.MaxValue, 1u)]
    [InlineData(0ul, uint.MaxValue)]
    public void Segments_beyond_the_disk_are_an_I_O_error_5_2_6_2(ulong sector, uint count)
    {
        Assert.Equal(BlockVerdict.Error, Prepare([Header(BlockRequestType.Discard, 0), [.. Segment(0, 1), .. Segment(sector, count)]], [1]));
        Assert.Equal(BlockVerdict.Error, Prepare([Header(BlockRequestType.WriteZeroes, 0), Segment(sector, count)], [1]));
    }

    [Fact]
    public void More_bytes_than_the_driver_accepted_as_its_limit_are_an_I_O_error_5_2_6_1()
    {
        _limits = _limits with { DataBytesMax = 1024 };
        Assert.True(Prepare([Header(BlockRequestType.In, 0)], [1024, 1]).IsStarted);
        Assert.Equal(BlockVerdict.Error, Prepare([Header(BlockRequestType.In, 0)], [1536, 1]));
        Assert.True(Prepare([Header(BlockRequestType.Out, 0), new byte[1024]], [1]).IsStarted);
        Assert.Equal(BlockVerdict.Error, Prepare([Header(BlockRequestType.Out, 0), new byte[1536]], [1]));
    }

    [Fact]
    public void More_sectors_than_the_limit_are_an_I_O_error_5_2_6_2()
    {
        _limits = _limits with { CapacitySectors = 1UL << 40 };
        Assert.True(Prepare([Header(BlockRequestType.Discard, 0), Segment(0, BlockRequest.DiscardSectorsMax)], [1]).IsStarted);
        Assert.Equal(BlockVerdict.Error, Prepare([Header(BlockRequestType.Discard, 0), Segment(0, BlockRequest.DiscardSectorsMax + 1)], [1]));
        Assert.Equal(BlockVerdict.Error, Prepare([Header(BlockRequestType.WriteZeroes, 0), Segment(0, BlockRequest.WriteZeroesSectorsMax + 1)], [1]));
    }

    [Fact]
    public void An_operation_goes_on_after_a_short_transfer_in_the_middle_of_a_buffer()
    {
        Prepare([Header(BlockRequestType.In, 0)], [.. Enumerable.Repeat(48, 32), 1]);
        Assert.Equal(32, _operation.Vectors.Length);
        _operation.Advance(48 + 47);
        Assert.Equal((95UL, 1536UL - 95), (_operation.Offset, _operation.Remaining));
        Assert.Equal((31, 1u), (_operation.Vectors.Length, (uint)_operation.Vectors[0].Length));
        _operation.Advance(_operation.Remaining);
        Assert.Equal(0, _operation.Vectors.Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => _operation.Advance(1));
    }

    [Fact]
    public void No_bytes_a_guest_can_write_make_an_operation_outside_of_the_disk()
    {
        Random random = new(5);
        uint[] types = [0, 1, 4, 8, 11, 13, 14];
        for (int i = 0; i < 20_000; i++)
        {
            byte[] bytes = new byte[random.Next(200)];
            random.NextBytes(bytes);
            if (bytes.Length >= 16 && i % 2 == 0) Header((BlockRequestType)types[random.Next(types.Length)], (ulong)random.Next(120)).CopyTo(bytes, 0);
            byte[][] readable = bytes.Length == 0 ? [] : [bytes];
            int[] writable = random.Next(3) switch { 0 => readable.Length == 0 ? [1] : [], 1 => [1], _ => [512 * random.Next(1, 4), 1] };
            if (!Prepare(readable, writable).IsStarted) continue;
            Assert.True(_operation.Offset + _operation.Remaining <= Sectors * 512);
            foreach (BlockSegment segment in _operation.Segments) Assert.True(segment.Offset + segment.Length <= Sectors * 512);
        }
    }

    [Fact]
    public void A_header_that_changes_while_it_is_looked_at_makes_no_operation_outside_of_the_disk()
    {
        GuestBuffer header = _driver.Place(Header(BlockRequestType.Out, 1)), data = _driver.Place(new byte[512]), status = _driver.Place(new byte[1]);
        _driver.Add([header, data], [status]);
        Assert.True(_queue.TryPop(out DescriptorChain? chain));
        using CancellationTokenSource done = new();
        Thread guest = new(() =>
        {
            byte[] inside = BitConverter.GetBytes(1UL), outside = BitConverter.GetBytes(Sectors + 7);
            while (!done.IsCancellationRequested)
            {
                _memory.TryWrite(header.Address + 8, inside);
                _memory.TryWrite(header.Address + 8, outside);
            }
        });
        guest.Start();
        try
        {
            // Until both were seen often: then a second look at the header would have differed from the first many times.
            int started = 0, refused = 0;
            for (int i = 0; i < 1_000_000 || Math.Min(started, refused) < 10_000; i++)
            {
                Assert.True(i < 500_000_000, "the guest's thread does not run");
                if (!BlockRequest.Prepare(chain, _limits, _durable, _operation).IsStarted)
                {
                    refused++;
                    continue;
                }
                started++;
                Assert.Equal(512u, _operation.Offset);
            }
        }
        finally
        {
            done.Cancel();
            guest.Join();
        }
        _queue.Push(chain, 0);
        _queue.Publish();
    }

    private BlockVerdict Prepare(byte[][] readable, int[] writable, Action<DriverRequest>? look = null)
    {
        DriverRequest request = _driver.Add(readable, writable);
        Assert.True(_queue.TryPop(out DescriptorChain? chain));
        BlockVerdict verdict = BlockRequest.Prepare(chain, _limits, _durable, _operation);
        look?.Invoke(request);
        _queue.Push(chain, 0);
        _queue.Publish();
        _driver.Collect();
        _driver.Free(request);
        return verdict;
    }

    private static byte[] Header(BlockRequestType type, ulong sector)
    {
        byte[] header = new byte[BlockProtocol.HeaderLength];
        BinaryPrimitives.WriteUInt32LittleEndian(header, (uint)type);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(8), sector);
        return header;
    }

    private static byte[] Segment(ulong sector, uint sectors, uint flags = 0)
    {
        byte[] segment = new byte[BlockProtocol.SegmentLength];
        BinaryPrimitives.WriteUInt64LittleEndian(segment, sector);
        BinaryPrimitives.WriteUInt32LittleEndian(segment.AsSpan(8), sectors);
        BinaryPrimitives.WriteUInt32LittleEndian(segment.AsSpan(12), flags);
        return segment;
    }
}
