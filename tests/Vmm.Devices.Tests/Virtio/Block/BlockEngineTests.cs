using Vmm.Devices.Simulation;
using Vmm.Events.Rings;

namespace Vmm.Devices.Tests;

/// <summary>Every engine gives the guest the same disk.</summary>
[Collection(Alone.Name)]
public sealed class BlockEngineTests : IDisposable
{
    private const int ImageBytes = 1 << 20;

    private readonly ScratchImage _scratch = new(ImageBytes);

    /// <summary>Every engine, through the page cache and past it.</summary>
    public static TheoryData<BlockEngineKind, bool> Engines
    {
        get
        {
            TheoryData<BlockEngineKind, bool> engines = [];
            foreach (BlockEngineKind engine in Enum.GetValues<BlockEngineKind>())
            {
                engines.Add(engine, false);
                engines.Add(engine, true);
            }
            return engines;
        }
    }

    /// <summary>The same, and guest memory pinned.</summary>
    public static TheoryData<BlockEngineKind, bool, bool> Disks
    {
        get
        {
            TheoryData<BlockEngineKind, bool, bool> disks = [];
            foreach (TheoryDataRow<BlockEngineKind, bool> engine in Engines) disks.Add(engine.Data.Item1, engine.Data.Item2, false);
            disks.Add(BlockEngineKind.Ring, true, true);
            return disks;
        }
    }

    public void Dispose() => _scratch.Dispose();

    [Theory, MemberData(nameof(Disks))]
    public void Requests_of_every_kind_do_the_same_on_each_engine(BlockEngineKind engine, bool direct, bool pin)
    {
        byte[] content = BlockGuest.Pattern(ImageBytes);
        _scratch.Bytes = content;
        using SimulatedGuest guest = Guest(engine, direct, pin);
        DriverRequest read = guest.Queue(0).Read(7, 3);
        byte[] data = BlockGuest.Pattern(1024, 2);
        DriverRequest write = guest.Queue(0).Write(2, data);
        DriverRequest flush = guest.Queue(0).Ask(BlockRequestType.Flush);
        DriverRequest discard = guest.Queue(0).Segment(BlockRequestType.Discard, 16, 32);
        DriverRequest zero = guest.Queue(0).Segment(BlockRequestType.WriteZeroes, 101, 3);
        DriverRequest unmap = guest.Queue(0).Segment(BlockRequestType.WriteZeroes, 200, 100, flags: 1);
        DriverRequest[] all = [read, write, flush, discard, zero, unmap];
        guest.Kick(0).RunUntil(() => all.All(request => request.IsUsed));

        Assert.All(all, request => Assert.Equal(BlockStatus.Ok, request.Status()));
        Assert.Equal(content[(7 * 512)..(10 * 512)], read.Data());
        Assert.Equal((3u * 512 + 1, 1u, 1u), (read.UsedLength, write.UsedLength, flush.UsedLength));
        data.CopyTo(content, 2 * 512);
        content.AsSpan(16 * 512, 32 * 512).Clear();
        content.AsSpan(101 * 512, 3 * 512).Clear();
        content.AsSpan(200 * 512, 100 * 512).Clear();
        Assert.Equal(content, _scratch.Bytes);
    }

    [Theory, MemberData(nameof(Disks))]
    public void Random_reads_and_writes_in_flight_together_keep_what_a_model_keeps(BlockEngineKind engine, bool direct, bool pin)
    {
        int seed = Random.Shared.Next();
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}");
        Random random = new(seed);
        byte[] model = BlockGuest.Pattern(ImageBytes);
        _scratch.Bytes = model;
        using SimulatedGuest guest = Guest(engine, direct, pin);
        for (int round = 0; round < 60; round++)
        {
            // Requests of one round lie apart, because their order is nobody's promise.
            List<(DriverRequest Request, byte[]? Expected)> requests = [];
            for (int slot = 0; slot < 16; slot++)
            {
                int sectors = random.Next(1, 100);
                int sector = slot * 128 + random.Next(128 - sectors);
                Span<byte> place = model.AsSpan(sector * 512, sectors * 512);
                if (random.Next(2) == 0)
                {
                    requests.Add((guest.Queue(0).Read((ulong)sector, sectors), place.ToArray()));
                    continue;
                }
                byte[] data = BlockGuest.Pattern(sectors * 512, random.Next());
                data.CopyTo(place);
                requests.Add((guest.Queue(0).Write((ulong)sector, data), null));
            }
            guest.Kick(0).RunUntil(() => requests.All(each => each.Request.IsUsed));
            foreach ((DriverRequest request, byte[]? expected) in requests)
            {
                Assert.Equal(BlockStatus.Ok, request.Status());
                if (expected is not null) Assert.Equal(expected, request.Data());
            }
        }
        Assert.Equal(model, _scratch.Bytes);
    }

    [Theory, MemberData(nameof(Disks))]
    public void An_image_cut_short_behind_the_disk_is_an_error_for_the_sectors_that_are_gone(BlockEngineKind engine, bool direct, bool pin)
    {
        using SimulatedGuest guest = Guest(engine, direct, pin);
        using (FileStream file = new(_scratch.Path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite)) file.SetLength(ImageBytes / 2 + 512);
        ulong half = ImageBytes / 2 / 512;
        DriverRequest good = guest.Queue(0).Read(half, 1);
        DriverRequest cut = guest.Queue(0).Read(half, 2);
        DriverRequest gone = guest.Queue(0).Read(half + 8, 1);
        guest.Kick(0).RunUntil(() => good.IsUsed && cut.IsUsed && gone.IsUsed);
        Assert.Equal((BlockStatus.Ok, BlockStatus.IoError, BlockStatus.IoError), (good.Status(), cut.Status(), gone.Status()));
    }

    [Theory, MemberData(nameof(Disks))]
    public void A_reset_waits_for_what_is_in_flight_and_the_disk_serves_again(BlockEngineKind engine, bool direct, bool pin)
    {
        byte[] content = BlockGuest.Pattern(ImageBytes);
        _scratch.Bytes = content;
        using SimulatedGuest guest = Guest(engine, direct, pin);
        for (int round = 0; round < 20; round++)
        {
            for (int i = 0; i < 30; i++) guest.Queue(0).Write((ulong)i * 4, content[(i * 2048)..((i + 1) * 2048)]);
            guest.Queue(0).Ask(BlockRequestType.Flush);
            guest.Kick(0);
            guest.Reactor.RunOnce(TimeSpan.Zero);
            guest.Reset().Start();
            DriverRequest read = guest.Queue(0).Read(0, 8);
            guest.Kick(0).RunUntil(() => read.IsUsed);
            Assert.Equal(content[..4096], read.Data());
        }
        Assert.Equal(content, _scratch.Bytes);
    }

    [Theory, MemberData(nameof(Disks))]
    public void Buffers_that_lie_anywhere_and_are_cut_anywhere_are_served(BlockEngineKind engine, bool direct, bool pin)
    {
        byte[] model = BlockGuest.Pattern(ImageBytes);
        _scratch.Bytes = model;
        using SimulatedGuest guest = Guest(engine, direct, pin);
        const ulong Buffers = 96 << 20;
        Random random = new(5);
        for (int round = 0; round < 60; round++)
        {
            int sectors = random.Next(1, 700), sector = random.Next(ImageBytes / 512 - sectors), bytes = sectors * 512;
            int cut = random.Next(1, bytes);
            // Two buffers somewhere in memory, that are no whole sectors each.
            GuestBuffer[] data = [new(Buffers + (ulong)random.Next(4096), (uint)cut), new(Buffers + (1 << 20) + (ulong)random.Next(4096), (uint)(bytes - cut))];
            bool writes = random.Next(2) == 0;
            byte[] header = new byte[16];
            header[0] = writes ? (byte)1 : (byte)0;
            BitConverter.TryWriteBytes(header.AsSpan(8), (ulong)sector);
            GuestBuffer head = new(Buffers + (8 << 20), 16), status = new(Buffers + (9 << 20), 1);
            guest.Memory.TryWrite(head.Address, header);
            guest.Memory.TryWrite(status.Address, [0xff]);
            Span<byte> place = model.AsSpan(sector * 512, bytes);
            if (writes)
            {
                random.NextBytes(place);
                guest.Memory.TryWrite(data[0].Address, place[..cut]);
                guest.Memory.TryWrite(data[1].Address, place[cut..]);
            }
            DriverRequest request = writes ? guest.Queue(0).Add([head, .. data], [status]) : guest.Queue(0).Add([head], [.. data, status]);
            guest.Kick(0).RunUntil(() => request.IsUsed);
            byte[] got = new byte[bytes], ended = new byte[1];
            guest.Memory.TryRead(status.Address, ended);
            guest.Memory.TryRead(data[0].Address, got.AsSpan(0, cut));
            guest.Memory.TryRead(data[1].Address, got.AsSpan(cut));
            Assert.Equal((byte)BlockStatus.Ok, ended[0]);
            Assert.Equal(place.ToArray(), got);
        }
        Assert.Equal(model, _scratch.Bytes);
    }

    [Fact]
    public void A_disk_past_the_page_cache_leaves_none_of_it_in_there()
    {
        _scratch.Bytes = BlockGuest.Pattern(ImageBytes);
        using SimulatedGuest guest = Guest(BlockEngineKind.Ring, direct: true);
        // fdatasync and this advice put the file's pages out; a direct read does not bring them back.
        Evict();
        DriverRequest read = guest.Queue(0).Read(0, 512);
        guest.Kick(0).RunUntil(() => read.IsUsed);
        Assert.Equal(BlockStatus.Ok, read.Status());
        Assert.Equal("0", CachedPages());
    }

    [Theory]
    [InlineData(BlockEngineKind.Ring)]
    [InlineData(BlockEngineKind.Threads)]
    public void A_read_that_comes_alone_is_taken_from_the_page_cache_or_goes_the_usual_way(BlockEngineKind engine)
    {
        byte[] pattern = _scratch.Bytes = BlockGuest.Pattern(ImageBytes);
        using SimulatedGuest guest = Guest(engine);
        IoRing ring = engine == BlockEngineKind.Threads ? IoRing.Of(guest.Reactor, RingEngine.Threads) : RawImage.RingOf(guest.Reactor);
        long before = ring.Statistics.Operations;
        DriverRequest cached = guest.Queue(0).Read(8, 8);
        guest.Kick(0).RunUntil(() => cached.IsUsed);
        Assert.Equal(0, ring.Statistics.Operations - before);
        Assert.Equal(pattern.AsSpan(8 * 512, 4096), cached.Written.AsSpan(0, 4096));

        Evict();
        DriverRequest evicted = guest.Queue(0).Read(16, 8);
        guest.Kick(0).RunUntil(() => evicted.IsUsed);
        Assert.Equal(1, ring.Statistics.Operations - before);
        Assert.Equal(BlockStatus.Ok, evicted.Status());
        Assert.Equal(pattern.AsSpan(16 * 512, 4096), evicted.Written.AsSpan(0, 4096));
    }

    [Theory]
    [InlineData(12, 1)]
    [InlineData(32, 3)]
    public void The_requests_of_a_turn_are_one_submission_and_one_interrupt(int requests, int turns)
    {
        using SimulatedGuest guest = Guest(BlockEngineKind.Ring);
        IoRing ring = RawImage.RingOf(guest.Reactor);
        Assert.SkipWhen(ring.IsOnThreads, "this kernel has no io_uring");
        // Into the page cache, so that reads complete as they are submitted.
        _ = _scratch.Bytes;
        RingStatistics before = ring.Statistics;
        int interrupts = guest.Interrupts;
        DriverRequest[] reads = [.. Enumerable.Range(0, requests).Select(i => guest.Queue(0).Read((ulong)i * 8, 8))];
        guest.Kick(0).RunUntil(() => reads.All(read => read.IsUsed));
        Assert.Equal(requests, ring.Statistics.Operations - before.Operations);
        Assert.Equal(turns, ring.Statistics.Submissions - before.Submissions);
        Assert.Equal(turns, guest.Interrupts - interrupts);
    }

    private SimulatedGuest Guest(BlockEngineKind engine, bool direct = false, bool pin = false) => SimulatedGuest.For(
        new BlockDevice("vda", RawImage.Open(_scratch.Path, engine: engine, direct: direct), new DiskSpec { Pin = pin }),
        new SimulatedGuestOptions { MemoryBytes = 128 << 20 });

    private void Evict() => Assert.Equal(0, Run("dd", $"of={_scratch.Path}", "oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none").Code);

    /// <summary>Pages of the image that are in the page cache: fincore(1).</summary>
    private string CachedPages() => Run("fincore", "--noheadings", "--output", "PAGES", _scratch.Path).Output.Trim();

    private static (int Code, string Output) Run(string program, params string[] arguments)
    {
        using System.Diagnostics.Process process = System.Diagnostics.Process.Start(
            new System.Diagnostics.ProcessStartInfo(program, arguments) { RedirectStandardOutput = true })!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output);
    }
}
