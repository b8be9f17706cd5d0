using Vmm.Devices.Simulation;
using Vmm.Examples;

namespace Vmm.Devices.Tests;

/// <summary>The backend of docs/examples/OwnBackend, which docs/storage.md names.</summary>
public sealed class StreamDiskTests
{
    public static TheoryData<string> Checks => new(BackendBattery.Checks);

    [Theory, MemberData(nameof(Checks))]
    public void It_passes_the_battery(string check) =>
        new BackendBattery(() => new StreamDisk(new MemoryStream(new byte[2 << 20]))).Run(check);

    [Fact]
    public void It_has_whole_sectors_and_takes_no_writes_if_its_stream_takes_none()
    {
        byte[] content = BlockGuest.Pattern(4000);
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", new StreamDisk(new MemoryStream(content, writable: false))));
        Assert.Equal(7u, guest.Driver.ReadConfig<ulong>(0));
        DriverRequest read = guest.Queue(0).Read(0, 7), write = guest.Queue(0).Write(0, new byte[512]);
        guest.Kick(0).RunUntil(() => read.IsUsed && write.IsUsed);
        Assert.Equal((BlockStatus.Ok, BlockStatus.IoError), (read.Status(), write.Status()));
        Assert.Equal(content[..3584], read.Data());
    }

    [Fact]
    public void A_stream_that_ends_too_early_is_an_error_of_the_request()
    {
        using MemoryStream stream = new();
        stream.SetLength(1 << 20);
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", new StreamDisk(stream)));
        stream.SetLength(1 << 19);
        DriverRequest read = guest.Queue(0).Read(1024 + 8);
        guest.Kick(0).RunUntil(() => read.IsUsed);
        Assert.Equal(BlockStatus.IoError, read.Status());
    }
}
