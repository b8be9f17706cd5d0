using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>A device does what its limit allows, and no more; the clock is the test's.</summary>
public sealed class RateLimitTests
{
    private const int Sectors = 8;
    private readonly ManualClock _clock = new();

    [Fact]
    public void A_queue_does_as_many_operations_as_its_rate_and_what_it_saved_up()
    {
        RateLimit limit = new(operationsPerSecond: 100, burst: TimeSpan.FromMilliseconds(50), clock: _clock);
        using SimulatedGuest guest = Guest(limit);
        DriverRequest[] reads = Reads(guest, 60);
        // Five are saved up, and the first of what is to come passes.
        Assert.Equal(6, Done(guest, reads));
        for (int done = 7; done <= 60; done++) Assert.Equal(done, DoneAfter(guest, reads, TimeSpan.FromMilliseconds(10)));
    }

    [Fact]
    public void A_queue_moves_as_many_bytes_as_its_rate_however_large_its_requests()
    {
        RateLimit limit = new(bytesPerSecond: 1 << 20, burst: TimeSpan.Zero, clock: _clock);
        using SimulatedGuest guest = Guest(limit);
        DriverRequest[] reads = [.. Enumerable.Range(0, 8).Select(_ => guest.Queue(0).Read(0, 256))];
        guest.Kick(0);
        // 128 KiB and a header each: 125 ms, and a little.
        Assert.Equal(1, Done(guest, reads));
        Assert.Equal(1, DoneAfter(guest, reads, TimeSpan.FromMilliseconds(124)));
        Assert.Equal(2, DoneAfter(guest, reads, TimeSpan.FromMilliseconds(2)));
        for (int i = 3; i <= 8; i++) Assert.Equal(i, DoneAfter(guest, reads, TimeSpan.FromMilliseconds(125.1)));
    }

    [Fact]
    public void What_is_not_used_is_saved_up_for_a_burst_and_no_longer()
    {
        RateLimit limit = new(operationsPerSecond: 10, burst: TimeSpan.FromSeconds(1), clock: _clock);
        using SimulatedGuest guest = Guest(limit);
        Assert.Equal(11, Done(guest, Reads(guest, 20)));
        _clock.Advance(TimeSpan.FromSeconds(100));
        guest.RunUntilIdle();
        Assert.Equal(2, Done(guest, Reads(guest, 2)));
        _clock.Advance(TimeSpan.FromSeconds(100));
        Assert.Equal(11, Done(guest, Reads(guest, 20)));
    }

    [Fact]
    public void A_queue_without_a_token_costs_nothing_until_its_time()
    {
        RateLimit limit = new(operationsPerSecond: 1, burst: TimeSpan.Zero, clock: _clock);
        using SimulatedGuest guest = Guest(limit);
        DriverRequest[] reads = Reads(guest, 3);
        Assert.Equal(1, Done(guest, reads));
        long waits = guest.Reactor.Statistics.Events;
        for (int i = 0; i < 100; i++) guest.RunUntilIdle();
        Assert.Equal(waits, guest.Reactor.Statistics.Events);
        Assert.Equal(2, DoneAfter(guest, reads, TimeSpan.FromSeconds(1)));
    }

    [Fact]
    public void A_limit_that_is_changed_holds_at_once_for_what_waits()
    {
        RateLimit limit = new(operationsPerSecond: 1, burst: TimeSpan.Zero, clock: _clock);
        using SimulatedGuest guest = Guest(limit);
        DriverRequest[] reads = Reads(guest, 30);
        Assert.Equal(1, Done(guest, reads));
        limit.Change(10, 0, TimeSpan.Zero);
        Assert.Equal(2, Done(guest, reads));
        Assert.Equal(3, DoneAfter(guest, reads, TimeSpan.FromMilliseconds(100)));
        limit.Change(0, 0);
        Assert.Equal(30, Done(guest, reads));
    }

    [Fact]
    public void A_limit_may_be_given_and_taken_away_while_the_device_runs()
    {
        using SimulatedGuest guest = Guest(null);
        Assert.Equal(20, Done(guest, Reads(guest, 20)));
        guest.Device.Limit = new RateLimit(operationsPerSecond: 1, burst: TimeSpan.Zero, clock: _clock);
        DriverRequest[] reads = Reads(guest, 20);
        Assert.Equal(1, Done(guest, reads));
        guest.Device.Limit = null;
        Assert.Equal(20, Done(guest, reads));
    }

    [Fact]
    public void Devices_of_a_group_share_a_rate_and_both_go_on()
    {
        RateLimit limit = new(operationsPerSecond: 100, burst: TimeSpan.Zero, clock: _clock);
        using SimulatedGuest one = Guest(limit), other = Guest(limit);
        DriverRequest[] ones = Reads(one, 100), others = Reads(other, 100);
        int done = Done(one, ones) + Done(other, others);
        Assert.InRange(done, 1, 2);
        for (int i = 0; i < 100; i++)
        {
            _clock.Advance(TimeSpan.FromMilliseconds(10));
            // Each is the first in turns.
            done = i % 2 == 0 ? Done(one, ones) + Done(other, others) : Done(other, others) + Done(one, ones);
            Assert.InRange(done, i + 1, i + 3);
        }
        Assert.InRange(Done(one, ones), 30, 70);
    }

    [Fact]
    public void A_reset_and_a_pause_end_the_wait_for_tokens()
    {
        RateLimit limit = new(operationsPerSecond: 1, burst: TimeSpan.Zero, clock: _clock);
        using SimulatedGuest guest = Guest(limit);
        DriverRequest[] reads = Reads(guest, 3);
        Assert.Equal(1, Done(guest, reads));
        guest.Pause();
        _clock.Advance(TimeSpan.FromSeconds(5));
        Assert.Equal(1, Done(guest, reads));
        guest.Resume();
        Assert.Equal(2, Done(guest, reads));
        guest.Reset().Start();
        _clock.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(1, Done(guest, Reads(guest, 2)));
    }

    [Fact]
    public void The_time_that_a_queue_waited_is_counted()
    {
        using SimulatedGuest guest = SimulatedGuest.For(
            new BlockDevice("vda", new NullDisk(1 << 20)) { Limit = new RateLimit(operationsPerSecond: 50, burst: TimeSpan.Zero) });
        DriverRequest[] reads = Reads(guest, 4);
        guest.RunUntil(() => reads.All(read => read.IsUsed));
        Assert.InRange(guest.Device.QueueStatistics[0].Throttled.TotalMilliseconds, 1, double.MaxValue);
    }

    [Fact]
    public void Random_bytes_are_limited_too()
    {
        using SimulatedGuest guest = SimulatedGuest.For(
            new EntropyDevice("rng0") { Limit = new RateLimit(bytesPerSecond: 1000, burst: TimeSpan.Zero, clock: _clock) },
            new SimulatedGuestOptions { Clock = _clock });
        DriverRequest[] requests = [.. Enumerable.Range(0, 3).Select(_ => guest.Queue(0).Add(writable: [100]))];
        guest.Kick(0);
        Assert.Equal(1, Done(guest, requests));
        Assert.Equal(2, DoneAfter(guest, requests, TimeSpan.FromMilliseconds(100)));
    }

    [Fact]
    public void Frames_that_a_guest_sends_are_limited_and_those_that_it_gets_are_not()
    {
        const int Receive = 0, Transmit = 1;
        using NetCable cable = new();
        RateLimit limit = new(operationsPerSecond: 100, burst: TimeSpan.Zero, clock: _clock);
        using SimulatedGuest guest = SimulatedGuest.For(new NetDevice("net0", cable.Device) { Limit = limit },
            new SimulatedGuestOptions { Clock = _clock });
        DriverRequest[] sent = [.. Enumerable.Range(0, 20).Select(i => guest.Queue(Transmit).Add([NetCable.Packet(NetCable.Frame(60, i))]))];
        guest.Kick(Transmit);
        Assert.Equal(1, Done(guest, sent));
        DriverRequest[] received = [.. Enumerable.Range(0, 20).Select(_ => guest.Queue(Receive).Add(writable: [2048]))];
        guest.Kick(Receive);
        for (int i = 0; i < 20; i++) Assert.True(cable.TrySend(NetCable.Frame(60, i)));
        Assert.Equal(20, Done(guest, received));
        Assert.Equal(1, Done(guest, sent));
        for (int done = 2; done <= 20; done++) Assert.Equal(done, DoneAfter(guest, sent, TimeSpan.FromMilliseconds(10)));
        for (int i = 0; i < 20; i++) Assert.Equal(NetCable.Frame(60, i), cable.Receive());
    }

    [Fact]
    public void Bytes_of_frames_are_limited_too()
    {
        const int Transmit = 1;
        RateLimit limit = new(bytesPerSecond: 1012, burst: TimeSpan.Zero, clock: _clock);
        using SimulatedGuest guest = SimulatedGuest.For(new NetDevice("net0", new CountingNetwork(1)) { Limit = limit },
            new SimulatedGuestOptions { Clock = _clock });
        // A header of 12 bytes, and a frame of 1000: a second each.
        DriverRequest[] sent = [.. Enumerable.Range(0, 4).Select(i => guest.Queue(Transmit).Add([NetCable.Packet(NetCable.Frame(1000, i))]))];
        guest.Kick(Transmit);
        Assert.Equal(1, Done(guest, sent));
        Assert.Equal(1, DoneAfter(guest, sent, TimeSpan.FromMilliseconds(990)));
        Assert.Equal(2, DoneAfter(guest, sent, TimeSpan.FromMilliseconds(20)));
    }

    [Fact]
    public void A_disk_that_waits_for_tokens_holds_back_no_other_disk_of_its_reactor()
    {
        using SimulatedGuest held = Guest(new RateLimit(operationsPerSecond: 1, burst: TimeSpan.Zero, clock: _clock));
        using SimulatedGuest free = SimulatedGuest.For(new BlockDevice("vdb", new NullDisk(1 << 20)), new SimulatedGuestOptions
        {
            MemoryBytes = 64 << 20,
            Beside = held,
        });
        DriverRequest[] waiting = Reads(held, 30);
        Assert.Equal(1, Done(held, waiting));
        for (int round = 0; round < 100; round++)
        {
            // Its driver goes on kicking, whatever it is told.
            held.Kick(0);
            DriverRequest[] reads = Reads(free, 30);
            Assert.Equal(30, Done(free, reads));
            foreach (DriverRequest read in reads) free.Queue(0).Free(read);
        }
        Assert.Equal(1, Done(held, waiting));
        Assert.Equal(2, DoneAfter(held, waiting, TimeSpan.FromSeconds(1)));
    }

    [Fact]
    public void Limits_and_groups_are_read_from_text()
    {
        LimitSpec limit = DiskSpec.Parse("disk.img,limit=iops=100,bytes=1M,burst=0.5,group=a").Limit!;
        Assert.Equal((100L, 1L << 20, TimeSpan.FromSeconds(0.5), "a"), (limit.Operations, limit.Bytes, limit.Burst!.Value, limit.Group));
        Assert.Equal(7, DiskSpec.Parse("disk.img,limit=bytes=7").Limit!.Bytes);
        Assert.Equal(5, EntropySpec.Parse("limit=iops=5").Limit!.Operations);
        Assert.Equal(5, NetSpec.Parse("tap=t,limit=iops=5").Limit!.Operations);
        Assert.Null(DiskSpec.Parse("disk.img").Limit);
    }

    [Theory]
    [InlineData("disk.img,limit=iops=0", "give a whole number from 1")]
    [InlineData("disk.img,limit=bytes=x", "give a size from 1")]
    [InlineData("disk.img,burst=1", "give 'limit=iops=N' or 'limit=bytes=N' too")]
    [InlineData("disk.img,limit=iops=5,burst=-1", "give seconds from 0 to 3600")]
    [InlineData("disk.img,limit=iops=5,burst=NaN", "give seconds from 0 to 3600")]
    [InlineData("disk.img,limit=iops=5,limit=iops=6", "'iops' is given twice")]
    [InlineData("disk.img,limit=5", "unknown flag '5'")]
    public void A_limit_that_makes_no_sense_is_refused_in_a_sentence(string text, string sentence) =>
        Assert.Contains(sentence, Assert.Throws<DeviceSpecException>(() => DiskSpec.Parse(text)).Message, StringComparison.Ordinal);

    [Fact]
    public void A_group_has_one_limit()
    {
        string group = $"group-{Guid.NewGuid():n}";
        using VirtioDevice first = DiskSpec.Parse($"null:1M,group={group}").Open("vda");
        using VirtioDevice second = DiskSpec.Parse($"null:1M,limit=iops=100,group={group}").Open("vdb");
        Assert.Same(first.Limit, second.Limit);
        Assert.Equal(100, LimitSpec.OfGroup(group)!.OperationsPerSecond);
        string refused = Assert.Throws<ArgumentException>(() =>
            DiskSpec.Parse($"null:1M,limit=iops=200,group={group}").Open("vdc")).Message;
        Assert.Contains("which has another limit", refused, StringComparison.Ordinal);
    }

    private SimulatedGuest Guest(RateLimit? limit) => SimulatedGuest.For(
        new BlockDevice("vda", new NullDisk(1 << 20)) { Limit = limit }, new SimulatedGuestOptions
        {
            MemoryBytes = 64 << 20,
            Clock = _clock
        });

    private static DriverRequest[] Reads(SimulatedGuest guest, int count)
    {
        DriverRequest[] reads = [.. Enumerable.Range(0, count).Select(_ => guest.Queue(0).Read(0, Sectors))];
        guest.Kick(0);
        return reads;
    }

    private int DoneAfter(SimulatedGuest guest, DriverRequest[] requests, TimeSpan time)
    {
        _clock.Advance(time);
        return Done(guest, requests);
    }

    private static int Done(SimulatedGuest guest, DriverRequest[] requests)
    {
        guest.RunUntilIdle();
        return requests.Count(request => request.IsUsed);
    }
}
