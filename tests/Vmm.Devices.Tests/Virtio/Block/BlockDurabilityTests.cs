using Microsoft.Extensions.Logging;
using Vmm.Devices.Simulation;
using Vmm.Devices.Tests.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>What the device promises of what was written: after a flush, without a cache, and when the host failed to sync.</summary>
public sealed class BlockDurabilityTests : IDisposable
{
    private const int WritebackOffset = 32;

    private readonly FaultyBackend _disk = new();

    public void Dispose() => _disk.Dispose();

    [Fact]
    public void What_was_written_before_a_flush_is_durable_when_the_flush_is_answered()
    {
        using SimulatedGuest guest = Guest();
        byte[] data = BlockGuest.Pattern(512);
        Assert.Equal(BlockStatus.Ok, Write(guest, 3, data));
        Assert.NotEqual(data, _disk.DurableSector(3));
        Assert.Equal(BlockStatus.Ok, Ask(guest, BlockRequestType.Flush));
        Assert.Equal(data, _disk.DurableSector(3));
        Assert.Equal(1, _disk.Count(BlockOperationKind.Flush));
    }

    [Theory]
    [InlineData(Errno.InputOutput)]
    [InlineData(Errno.NoSpace)]
    // A cluster whose client does not wait for ever, NFS with 'softerr', a SCSI disk that does not answer.
    [InlineData(Errno.TimedOut)]
    public void After_a_failed_flush_no_flush_of_any_queue_succeeds_until_the_disk_is_opened_anew(Errno error)
    {
        RecordingLogger log = new();
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", _disk, new DiskSpec { Queues = 2 }) { Logger = log });
        Write(guest, 3, BlockGuest.Pattern(512));
        _disk.Fault = operation => operation.Kind == BlockOperationKind.Flush ? error : Errno.None;
        Assert.Equal(BlockStatus.IoError, Ask(guest, BlockRequestType.Flush));
        _disk.Fault = null;

        for (int round = 0; round < 3; round++)
        {
            Assert.Equal(BlockStatus.IoError, Ask(guest, BlockRequestType.Flush));
            Assert.Equal(BlockStatus.IoError, Ask(guest, BlockRequestType.Flush, queue: 1));
            Assert.Equal(BlockStatus.Ok, Write(guest, 4, BlockGuest.Pattern(512)));
            guest.Reset().Start();
        }
        Assert.Contains("every later flush fails until the disk is opened anew", Assert.Single(log.Lines), StringComparison.Ordinal);
        using SimulatedGuest anew = Guest();
        Assert.Equal(BlockStatus.Ok, Ask(anew, BlockRequestType.Flush));
    }

    [Theory]
    [InlineData(BlockRequestType.Out, Errno.InputOutput)]
    [InlineData(BlockRequestType.Out, Errno.TimedOut)]
    [InlineData(BlockRequestType.Discard, Errno.InputOutput)]
    [InlineData(BlockRequestType.WriteZeroes, Errno.TimedOut)]
    public void A_failed_sync_of_a_durable_request_fails_later_flushes_too(BlockRequestType type, Errno error)
    {
        using SimulatedGuest guest = Guest();
        guest.Driver.WriteConfig<byte>(WritebackOffset, 0);
        _disk.Fault = _ => error;
        Assert.Equal(BlockStatus.IoError, type == BlockRequestType.Out ? Write(guest, 3, new byte[512]) : Segment(guest, type, 3));
        _disk.Fault = null;
        Assert.Equal(BlockStatus.Ok, Write(guest, 3, new byte[512]));
        Assert.Equal(BlockStatus.IoError, Ask(guest, BlockRequestType.Flush));
    }

    [Fact]
    public void A_failed_write_of_a_cached_disk_is_known_to_the_driver_and_flushes_go_on()
    {
        using SimulatedGuest guest = Guest();
        _disk.Fault = operation => operation.Kind == BlockOperationKind.Write ? Errno.NoSpace : Errno.None;
        Assert.Equal(BlockStatus.IoError, Write(guest, 3, new byte[512]));
        Assert.Equal(BlockStatus.Ok, Ask(guest, BlockRequestType.Flush));
    }

    [Fact]
    public void A_request_that_follows_the_switch_to_write_through_is_durable_5_2_5()
    {
        using SimulatedGuest guest = Guest();
        byte[] data = BlockGuest.Pattern(512);
        for (int round = 0; round < 20; round++)
        {
            // The reactor gets the register write and the kick at once, and may serve the kick first.
            guest.Driver.WriteConfig<byte>(WritebackOffset, 0);
            DriverRequest write = guest.Queue(0).Write((ulong)round, data);
            guest.Kick(0).RunUntilIdle();
            Assert.Equal(BlockStatus.Ok, write.Status());
            Assert.Equal(data, _disk.DurableSector((ulong)round));
            guest.Driver.WriteConfig<byte>(WritebackOffset, 1);
            Write(guest, 100, data);
            Assert.NotEqual(data, _disk.DurableSector(100));
        }
    }

    [Theory]
    [InlineData(BlockRequestType.Discard)]
    [InlineData(BlockRequestType.WriteZeroes)]
    public void Without_a_cache_sectors_that_were_zeroed_or_given_back_stay_so(BlockRequestType type)
    {
        using SimulatedGuest guest = Guest();
        guest.Driver.WriteConfig<byte>(WritebackOffset, 0);
        byte[] data = BlockGuest.Pattern(512);
        Write(guest, 3, data);
        Assert.Equal(data, _disk.DurableSector(3));
        Assert.Equal(BlockStatus.Ok, Segment(guest, type, 3));
        Assert.Equal(new byte[512], _disk.DurableSector(3));
    }

    [Fact]
    public void A_driver_that_can_not_flush_reads_that_there_is_no_cache_5_2_5_2()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", _disk), new SimulatedGuestOptions { Features = ~BlockProtocol.FeatureFlush });
        Assert.Equal(0, guest.Driver.ReadConfig<byte>(WritebackOffset));
        byte[] data = BlockGuest.Pattern(512);
        Write(guest, 3, data);
        Assert.Equal(data, _disk.DurableSector(3));
        // It has no other way to make a write durable, whatever it writes there.
        guest.Driver.WriteConfig<byte>(WritebackOffset, 1);
        Write(guest, 4, data);
        Assert.Equal(data, _disk.DurableSector(4));

        guest.Driver.WriteConfig<byte>(WritebackOffset, 0);
        guest.Reset().Start(features: ulong.MaxValue);
        Assert.Equal(0, guest.Driver.ReadConfig<byte>(WritebackOffset));
    }

    [Fact]
    public void A_cache_that_no_driver_switched_off_is_on_again_for_a_driver_that_can_flush()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", _disk), new SimulatedGuestOptions { Features = ~BlockProtocol.FeatureFlush });
        guest.Reset().Start(features: ulong.MaxValue);
        Assert.Equal(1, guest.Driver.ReadConfig<byte>(WritebackOffset));
        Write(guest, 3, BlockGuest.Pattern(512));
        Assert.Equal(new byte[512], _disk.DurableSector(3));
    }

    private SimulatedGuest Guest() => SimulatedGuest.For(new BlockDevice("vda", _disk));

    private static BlockStatus Write(SimulatedGuest guest, ulong sector, byte[] data) => Run(guest, guest.Queue(0).Write(sector, data));

    private static BlockStatus Segment(SimulatedGuest guest, BlockRequestType type, ulong sector) => Run(guest, guest.Queue(0).Segment(type, sector, 1));

    private static BlockStatus Ask(SimulatedGuest guest, BlockRequestType type, int queue = 0) => Run(guest, guest.Queue(queue).Ask(type), queue);

    private static BlockStatus Run(SimulatedGuest guest, DriverRequest request, int queue = 0)
    {
        guest.Kick(queue).RunUntil(() => request.IsUsed);
        return request.Status();
    }
}
