using System.Runtime.InteropServices;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>Pages no driver may give up, and more of them than there are.</summary>
[Trait("Device", "balloon")]
public sealed class HostileBalloonTests
{
    private const int Inflate = 0, Deflate = 1, Statistics = 2, Reporting = 3;
    private const uint PageBytes = 4096;
    private const uint Pages = (uint)(HostileGuest.MemoryBytes / PageBytes);
    private const long PagesPerTurnMax = 4096;
    private const uint Free = 32 << 20;

    public static TheoryData<HostileCase> Cases => HostileCase.Of("balloon");

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "virtio 1.2 § 5.5.6.1: page numbers out of range, alone and among good ones")]
    [Trait("Outcome", "given back, needs reset")]
    public void A_page_out_of_range_ends_its_request(HostileCase @case)
    {
        using SimulatedGuest guest = @case.Guest(new BalloonDevice("balloon0"));
        using Neighbour neighbour = new(guest);
        foreach (uint[] numbers in (uint[][])[[Pages], [uint.MaxValue], [1000, Pages], [Pages - 1, Pages], [1 << 20], [uint.MaxValue, 0]])
        {
            DriverRequest made = guest.Queue(Inflate).Add([Bytes(numbers)]);
            guest.Kick(Inflate).RunUntilIdle();
            Assert.True(made.IsUsed);
            Assert.True(guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
            guest.Reset().Start();
        }
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "the same page given up twice, and taken back though it was never given up")]
    [Trait("Outcome", "served")]
    public void A_page_may_come_and_go_twice(HostileCase @case)
    {
        BalloonDevice balloon = new("balloon0");
        using SimulatedGuest guest = @case.Guest(balloon);
        using Neighbour neighbour = new(guest);
        foreach (int queue in (int[])[Deflate, Inflate, Inflate, Deflate, Deflate])
        {
            DriverRequest made = guest.Queue(queue).Add([Bytes(Pages - 1, Pages - 1)]);
            guest.Kick(queue).RunUntilIdle();
            Assert.True(made.IsUsed);
        }
        Assert.Equal(0, guest.Device.GuestFaults);
        Assert.Equal(2 * PageBytes, balloon.ReturnedBytes);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "a driver that gives all of memory up, its own rings too")]
    [Trait("Outcome", "the rings read as zeroes; works after a reset")]
    public void All_of_memory_may_go_and_the_next_driver_is_served(HostileCase @case)
    {
        BalloonDevice balloon = new("balloon0");
        using SimulatedGuest guest = @case.Guest(balloon);
        using Neighbour neighbour = new(guest);
        guest.Queue(Inflate).Add([Bytes([.. Enumerable.Range(0, (int)Pages).Select(page => (uint)page)])]);
        guest.Driver.Kick(Inflate);
        for (int turn = 0; turn < 100; turn++) guest.Reactor.RunOnce(TimeSpan.Zero);
        Assert.InRange(balloon.ReturnedBytes, PageBytes, (long)HostileGuest.MemoryBytes);
        guest.Reset().Start();
        DriverRequest made = guest.Queue(Inflate).Add([Bytes(Pages - 1)]);
        guest.Kick(Inflate).RunUntilIdle();
        Assert.True(made.IsUsed);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "a request of nearly 4 GiB of page numbers, by naming the same memory over and over")]
    [Trait("Outcome", "served a turn at a time; a reset does not wait for it")]
    public void Four_gigabytes_of_page_numbers_are_taken_a_turn_at_a_time(HostileCase @case)
    {
        BalloonDevice balloon = new("balloon0");
        using SimulatedGuest guest = @case.Guest(balloon);
        using Neighbour neighbour = new(guest);
        guest.Memory.TryGetSpan(Free, 32 << 20, out Span<byte> numbers);
        MemoryMarshal.Cast<byte, uint>(numbers).Fill(Pages - 1);
        DriverRequest made = guest.Queue(Inflate).Add([.. Enumerable.Repeat(new GuestBuffer(Free, 32 << 20), 127)], []);
        guest.Driver.Kick(Inflate);
        for (int turn = 0; turn < 50; turn++)
        {
            long before = balloon.ReturnedBytes;
            guest.Reactor.RunOnce(TimeSpan.Zero);
            Assert.InRange(balloon.ReturnedBytes - before, 0, 2 * PagesPerTurnMax * PageBytes);
        }
        Assert.False(made.IsUsed);
        guest.Reset();
        Assert.Equal(DeviceStatus.None, guest.Driver.Status);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "one descriptor of nearly 4 GiB, all of it in memory: a device that takes its page numbers at once, or gives them a buffer")]
    [Trait("Outcome", "served a turn at a time; a reset does not wait for it")]
    public void One_descriptor_of_4_GiB_is_taken_a_turn_at_a_time(HostileCase @case)
    {
        const ulong Start = 1UL << 32;
        BalloonDevice balloon = new("balloon0");
        using SimulatedGuest guest = @case.Guest(balloon);
        using Neighbour neighbour = new(guest);
        // A mapping that nobody has touched takes no memory; what of it is read is page 0, over and over.
        Assert.True(guest.Memory.TryAdd(GuestRegion.Create(Start, Start), out _));
        foreach (int queue in (int[])[Inflate, Deflate, Statistics])
        {
            DriverRequest made = guest.Queue(queue).Add([new GuestBuffer(Start, uint.MaxValue - 3)], []);
            guest.Driver.Kick(queue);
            long allocated = GC.GetAllocatedBytesForCurrentThread();
            for (int turn = 0; turn < 20; turn++)
            {
                long before = balloon.ReturnedBytes;
                guest.Reactor.RunOnce(TimeSpan.Zero);
                Assert.InRange(balloon.ReturnedBytes - before, 0, 2 * PagesPerTurnMax * PageBytes);
            }
            Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - allocated, 0, 64 << 10);
            Assert.True(queue == Statistics || !made.IsUsed);
            guest.Reset();
            Assert.Equal(DeviceStatus.None, guest.Driver.Status);
            guest.Start();
        }
        // Reported, it is one piece, and nothing but a hole in the end.
        DriverRequest reported = guest.Queue(Reporting).Add([], [new GuestBuffer(Start, uint.MaxValue - 4095)]);
        guest.Kick(Reporting).RunUntil(() => reported.IsUsed);
        Assert.Equal(0, guest.Device.GuestFaults);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "CVE-2019-3900 (Linux: vhost without a weight for a turn); reports of very many pieces of memory at once")]
    [Trait("Outcome", "served a turn at a time")]
    public void A_turn_takes_no_more_than_its_share_of_reported_pieces(HostileCase @case)
    {
        BalloonDevice balloon = new("balloon0");
        using SimulatedGuest guest = @case.Guest(balloon);
        using Neighbour neighbour = new(guest);
        SimulatedQueue queue = guest.Queue(Reporting);
        GuestBuffer[] pieces = [.. Enumerable.Range(0, queue.Ring.Size).Select(i => new GuestBuffer(Free + ((ulong)i % 2 * 8192), PageBytes))];
        List<DriverRequest> made = [];
        while (queue.Ring.Free >= (@case.Indirect ? 1 : pieces.Length)) made.Add(queue.Add([], pieces));
        guest.Driver.Kick(Reporting);
        for (int turn = 0; turn < 1_000 && made.Exists(each => !each.IsUsed); turn++)
        {
            long before = balloon.ReturnedBytes;
            guest.Reactor.RunOnce(TimeSpan.Zero);
            queue.Collect();
            // Its share for the driver's kick and for our own, and the reports that went over it.
            Assert.InRange(balloon.ReturnedBytes - before, 0, 2 * (PagesPerTurnMax + pieces.Length) * PageBytes);
        }
        Assert.All(made, each => Assert.True(each.IsUsed));
        Assert.Equal(made.Count * pieces.Length * PageBytes, balloon.ReturnedBytes);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "virtio 1.2 § 5.5.6.3: statistics without end, of unknown kinds, and cut in the middle")]
    [Trait("Outcome", "the first 64 entries count")]
    public void Statistics_without_end_are_read_as_far_as_there_can_be_any(HostileCase @case)
    {
        BalloonDevice balloon = new("balloon0");
        using SimulatedGuest guest = @case.Guest(balloon);
        using Neighbour neighbour = new(guest);
        guest.Memory.TryGetSpan(Free, 16 << 20, out Span<byte> entries);
        for (int i = 0; i + 10 <= 1 << 16; i += 10) BitConverter.TryWriteBytes(entries[i..], (ushort)(i / 10));
        foreach (GuestBuffer buffer in (GuestBuffer[])[new(Free, 16 << 20), new(Free, 9), new(Free, 0)])
        {
            Task<IReadOnlyDictionary<BalloonStatistic, ulong>> answer = balloon.ReadStatisticsAsync(CancellationToken.None);
            guest.Queue(Statistics).Add([buffer], []);
            guest.Kick(Statistics).RunUntilIdle();
            Assert.True(answer.Wait(SimulatedGuest.Patience));
            Assert.Equal(buffer.Length < 10 ? 0 : 64, answer.Result.Count);
        }
        Assert.Equal(0, guest.Device.GuestFaults);
    }

    private static byte[] Bytes(params uint[] numbers) => MemoryMarshal.AsBytes(numbers.AsSpan()).ToArray();
}
