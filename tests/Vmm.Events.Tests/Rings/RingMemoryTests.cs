using Vmm.Events.Buffers;
using Vmm.Events.Native;
using Vmm.Events.Rings;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests.Rings;

/// <summary>Memory whose pages the kernel keeps for a ring.</summary>
public sealed unsafe class RingMemoryTests
{
    private const int PageBytes = 4096;
    private const int PieceBytes = 64 << 10;

    private readonly List<IoUringOp> _prepared = [];

    public static TheoryData<RingEngine> Engines => RingTable.Engines;

    [Theory]
    [InlineData(1, false, true)]
    [InlineData(3, false, true)]
    [InlineData(1, true, false)]
    [InlineData(3, true, false)]
    public void A_transfer_uses_the_kept_pages_if_all_of_its_memory_is_in_one_slot(int pieces, bool crosses, bool isFixed)
    {
        using RingTable table = Table();
        using OwnedFd fd = RingTable.Open(table.NewFile(new byte[4 * PageBytes]));
        using RingFile file = table.Ring.Register(fd);
        nint memory = Libc.MapPages(2 * PieceBytes);
        using (RingMemory kept = table.Ring.CreateMemory())
        {
            Assert.Equal(Errno.None, kept.Add((void*)memory, PieceBytes));
            Assert.Equal(Errno.None, kept.Add((void*)(memory + PieceBytes), PieceBytes));
            byte* start = (byte*)memory + (crosses ? PieceBytes - PageBytes : 0);
            IoVectors vectors = new(pieces);
            Span<byte> all = new(start, 2 * PageBytes * pieces);
            for (int i = 0; i < pieces; i++) vectors.Add(start + 2 * PageBytes * i, 2 * PageBytes);
            new Random(1).NextBytes(all);
            byte[] content = all.ToArray();
            Run(table, request => table.Ring.WriteV(request, file, 0, vectors, memory: kept), all.Length);
            all.Clear();
            Run(table, request => table.Ring.ReadV(request, file, 0, vectors, memory: kept), all.Length);
            Assert.Equal(content, all.ToArray());
        }
        IoUringOp[] expected = (isFixed, pieces) switch
        {
            (true, 1) => [IoUringOp.WriteFixed, IoUringOp.ReadFixed],
            (true, _) => [IoUringOp.WriteVFixed, IoUringOp.ReadVFixed],
            (false, 1) => [IoUringOp.Write, IoUringOp.Read],
            _ => [IoUringOp.WriteV, IoUringOp.ReadV],
        };
        Assert.Equal(expected, _prepared);
        Libc.UnmapPages(memory, 2 * PieceBytes);
    }

    [Fact]
    public void A_kernel_without_lists_for_kept_pages_gets_the_usual_ones()
    {
        using RingTable table = Table(options => options with { TakesFixedLists = false });
        using OwnedFd fd = RingTable.Open(table.NewFile(new byte[PageBytes]));
        using RingFile file = table.Ring.Register(fd);
        nint memory = Libc.MapPages(PieceBytes);
        using (RingMemory kept = table.Ring.CreateMemory())
        {
            Assert.Equal(Errno.None, kept.Add((void*)memory, PieceBytes));
            IoVectors vectors = new(2);
            vectors.Add((void*)memory, 512);
            vectors.Add((void*)(memory + PageBytes), 512);
            Run(table, request => table.Ring.ReadV(request, file, 0, vectors, memory: kept), 1024);
        }
        Assert.Equal([IoUringOp.ReadV], _prepared);
        Libc.UnmapPages(memory, PieceBytes);
    }

    [Fact]
    public void What_is_refused_takes_no_slot_and_what_is_disposed_gives_its_slots_back()
    {
        using RingTable table = Table(options => options with { BuffersMax = 2 });
        nint memory = Libc.MapPages(3 * PieceBytes);
        for (int round = 0; round < 3; round++)
        {
            using RingMemory kept = table.Ring.CreateMemory();
            Assert.NotEqual(Errno.None, kept.Add((void*)PageBytes, PieceBytes));
            // More than the table has room for.
            Assert.NotEqual(Errno.None, kept.Add((void*)memory, (nuint)3 << 30));
            Assert.Equal(Errno.None, kept.Add((void*)memory, PieceBytes));
            Assert.Equal(Errno.None, kept.Add((void*)(memory + PieceBytes), PieceBytes));
            Assert.Equal(Errno.NoSpace, kept.Add((void*)(memory + 2 * PieceBytes), PieceBytes));
        }
        Libc.UnmapPages(memory, 3 * PieceBytes);
    }

    [Fact]
    public void Threads_keep_no_pages_and_transfer_all_the_same()
    {
        using RingTable table = new(RingEngine.Threads);
        using OwnedFd fd = RingTable.Open(table.NewFile([1, 2, 3]));
        using RingFile file = table.Ring.Register(fd);
        nint memory = Libc.MapPages(PieceBytes);
        using (RingMemory kept = table.Ring.CreateMemory())
        {
            Assert.Equal(Errno.NotSupported, kept.Add((void*)memory, PieceBytes));
            IoVectors vectors = new(1);
            vectors.Add((void*)memory, PageBytes);
            Run(table, request => table.Ring.ReadV(request, file, 0, vectors, memory: kept), 3);
            Assert.Equal([1, 2, 3], new Span<byte>((void*)memory, 3).ToArray());
        }
        Libc.UnmapPages(memory, PieceBytes);
    }

    [Fact]
    public void A_memory_outlives_its_ring()
    {
        using RingTable table = new(RingEngine.Kernel);
        nint memory = Libc.MapPages(PieceBytes);
        RingMemory kept = table.Ring.CreateMemory();
        Assert.Equal(Errno.None, kept.Add((void*)memory, PieceBytes));
        table.Ring.Dispose();
        kept.Dispose();
        Assert.Throws<ObjectDisposedException>(() => kept.Add((void*)memory, PieceBytes));
        Libc.UnmapPages(memory, PieceBytes);
    }

    private RingTable Table(Func<RingOptions, RingOptions>? shape = null) => new(RingEngine.Kernel, options =>
    {
        options = options with { Decorate = engine => new NotingEngine(engine, _prepared) };
        return shape?.Invoke(options) ?? options;
    });

    private static void Run(RingTable table, Action<RecordingRequest> begin, int expected)
    {
        RecordingRequest request = new();
        begin(request);
        table.RunUntil(() => request.Results.Count == 1);
        Assert.Equal([expected], request.Results);
    }

    private sealed class NotingEngine(IRingEngine engine, List<IoUringOp> prepared) : WatchedEngine(engine, _ => { })
    {
        public override void Prepare(in IoUringEntry entry)
        {
            prepared.Add(entry.Op);
            base.Prepare(entry);
        }
    }
}
