using Vmm.Devices.Simulation;
using Vmm.Events.Rings;

namespace Vmm.Devices.Tests;

/// <summary>Every engine gives the guest the same disk.</summary>
public sealed class BlockEngineTests : IDisposable
{
    private const int ImageBytes = 1 << 20;

    private readonly ScratchImage _scratch = new(ImageBytes);

    public static TheoryData<BlockEngineKind> Engines => [.. Enum.GetValues<BlockEngineKind>()];

    public void Dispose() => _scratch.Dispose();

    [Theory, MemberData(nameof(Engines))]
    public void Requests_of_every_kind_do_the_same_on_each_engine(BlockEngineKind engine)
    {
        byte[] content = BlockGuest.Pattern(ImageBytes);
        _scratch.Bytes = content;
        using SimulatedGuest guest = Guest(engine);
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

    [Theory, MemberData(nameof(Engines))]
    public void Random_reads_and_writes_in_flight_together_keep_what_a_model_keeps(BlockEngineKind engine)
    {
        int seed = Random.Shared.Next();
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}");
        Random random = new(seed);
        byte[] model = BlockGuest.Pattern(ImageBytes);
        _scratch.Bytes = model;
        using SimulatedGuest guest = Guest(engine);
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

    [Theory, MemberData(nameof(Engines))]
    public void An_image_cut_short_behind_the_disk_is_an_error_for_the_sectors_that_are_gone(BlockEngineKind engine)
    {
        using SimulatedGuest guest = Guest(engine);
        using (FileStream file = new(_scratch.Path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite)) file.SetLength(ImageBytes / 2 + 512);
        ulong half = ImageBytes / 2 / 512;
        DriverRequest good = guest.Queue(0).Read(half, 1);
        DriverRequest cut = guest.Queue(0).Read(half, 2);
        DriverRequest gone = guest.Queue(0).Read(half + 8, 1);
        guest.Kick(0).RunUntil(() => good.IsUsed && cut.IsUsed && gone.IsUsed);
        Assert.Equal((BlockStatus.Ok, BlockStatus.IoError, BlockStatus.IoError), (good.Status(), cut.Status(), gone.Status()));
    }

    [Theory, MemberData(nameof(Engines))]
    public void A_reset_waits_for_what_is_in_flight_and_the_disk_serves_again(BlockEngineKind engine)
    {
        byte[] content = BlockGuest.Pattern(ImageBytes);
        _scratch.Bytes = content;
        using SimulatedGuest guest = Guest(engine);
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

    [Fact]
    public void The_requests_of_one_kick_are_one_submission_and_one_interrupt()
    {
        using SimulatedGuest guest = Guest(BlockEngineKind.Ring);
        IoRing ring = IoRing.Of(guest.Reactor);
        Assert.SkipWhen(ring.IsOnThreads, "this kernel has no io_uring");
        // Into the page cache, so that reads complete as they are submitted.
        _ = _scratch.Bytes;
        RingStatistics before = ring.Statistics;
        int interrupts = guest.Interrupts;
        DriverRequest[] reads = [.. Enumerable.Range(0, 32).Select(i => guest.Queue(0).Read((ulong)i * 8, 8))];
        guest.Kick(0).RunUntil(() => reads.All(read => read.IsUsed));
        Assert.Equal(32, ring.Statistics.Operations - before.Operations);
        Assert.Equal(1, ring.Statistics.Submissions - before.Submissions);
        Assert.Equal(1, guest.Interrupts - interrupts);
    }

    private SimulatedGuest Guest(BlockEngineKind engine) => SimulatedGuest.For(
        new BlockDevice("vda", RawImage.Open(_scratch.Path, engine: engine)), new SimulatedGuestOptions { MemoryBytes = 128 << 20 });
}
