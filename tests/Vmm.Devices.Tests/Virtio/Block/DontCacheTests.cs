using System.Diagnostics;
using System.Globalization;
using Vmm.Devices.Simulation;
using Vmm.Tests;

namespace Vmm.Devices.Tests;

/// <summary>What <c>cache=dontcache</c> leaves in the host's page cache (fincore(1)).</summary>
public sealed class DontCacheTests : IDisposable
{
    private const int Bytes = 1 << 20;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly ScratchImage _scratch = new(Bytes);

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData(BlockEngineKind.Ring)]
    [InlineData(BlockEngineKind.Threads)]
    [InlineData(BlockEngineKind.Synchronous)]
    public void A_request_leaves_nothing_in_the_page_cache(BlockEngineKind engine)
    {
        using SimulatedGuest guest = Guest(engine, dontCache: true, out RawImage image);
        Assert.SkipUnless(image.DropsBehind, "this kernel, or the file system of the temporary folder, has no RWF_DONTCACHE");
        byte[] data = BlockGuest.Pattern(Bytes);
        Ok(guest, guest.Queue(0).Write(0, data));
        Ok(guest, guest.Queue(0).Ask(BlockRequestType.Flush));
        // The kernel drops what was written when it is on the disk, by a thread of its own.
        Await(() => Cached() == 0);
        DriverRequest read = guest.Queue(0).Read(0, Bytes / 512);
        Ok(guest, read);
        Assert.Equal(data, read.Data());
        Await(() => Cached() == 0);
    }

    [Fact]
    public void A_request_of_a_disk_that_is_cached_stays_in_the_page_cache()
    {
        using SimulatedGuest guest = Guest(BlockEngineKind.Ring, dontCache: false, out _);
        Ok(guest, guest.Queue(0).Write(0, BlockGuest.Pattern(Bytes)));
        Ok(guest, guest.Queue(0).Ask(BlockRequestType.Flush));
        Assert.Equal(Bytes, Cached());
    }

    private SimulatedGuest Guest(BlockEngineKind engine, bool dontCache, out RawImage image)
    {
        image = RawImage.Open(_scratch.Path, engine: engine, dontCache: dontCache);
        return SimulatedGuest.For(new BlockDevice("vda", image), new SimulatedGuestOptions { MemoryBytes = 64 << 20 });
    }

    private long Cached() => long.Parse(HostCommand.Check("fincore", "--bytes", "--noheadings", "--output", "RES", _scratch.Path).Trim(),
        CultureInfo.InvariantCulture);

    private static void Await(Func<bool> condition)
    {
        for (Stopwatch clock = Stopwatch.StartNew(); !condition(); Thread.Sleep(20)) Assert.True(clock.Elapsed < Patience, "it stays there");
    }

    private static void Ok(SimulatedGuest guest, DriverRequest request)
    {
        guest.Kick(0).RunUntil(() => request.IsUsed);
        Assert.Equal(BlockStatus.Ok, request.Status());
    }
}
