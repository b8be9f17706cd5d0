using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

public sealed class BalloonDeviceTests
{
    private const int Inflate = 0;
    private const int Deflate = 1;
    private const int Statistics = 2;
    private const int Reporting = 3;
    private const uint PageBytes = 4096;
    private const ulong MemoryBytes = 64 << 20;

    [Fact]
    public void Pages_the_guest_gives_up_go_back_to_the_host_for_real()
    {
        BalloonDevice balloon = new("balloon0");
        using SimulatedGuest guest = SimulatedGuest.For(balloon, new SimulatedGuestOptions { MemoryBytes = MemoryBytes });
        const ulong Start = 16 << 20;
        const int Pages = 8192;
        Assert.True(guest.Memory.TryGetSpan(Start, Pages * PageBytes, out Span<byte> pages));
        pages.Fill(7);
        long before = ResidentKiB(guest.Memory);
        Assert.InRange(before, 32 << 10, 64 << 10);

        // As a driver does: out of order, in requests of 256.
        uint[] numbers = [.. Enumerable.Range(0, Pages).Select(i => (uint)(Start / PageBytes) + (uint)i)];
        new Random(1).Shuffle(numbers);
        foreach (uint[] part in numbers.Chunk(256))
        {
            DriverRequest request = guest.Queue(Inflate).Add([MemoryMarshal.AsBytes(part.AsSpan()).ToArray()]);
            guest.Kick(Inflate).RunUntilIdle();
            Assert.True(request.IsUsed);
            guest.Queue(Inflate).Free(request);
        }
        Assert.Equal(Pages * PageBytes, balloon.ReturnedBytes);
        Assert.True(ResidentKiB(guest.Memory) <= before - (31 << 10), $"{before} KiB before, {ResidentKiB(guest.Memory)} KiB after");

        guest.Queue(Deflate).Add([MemoryMarshal.AsBytes(numbers.AsSpan(0, 256)).ToArray()]);
        guest.Kick(Deflate).RunUntilIdle();
        pages[..(int)PageBytes].Fill(1);
        Assert.Equal(0, guest.Device.HostFaults + guest.Device.GuestFaults);
    }

    [Fact]
    public void A_request_of_very_many_pages_is_taken_in_more_than_one_turn()
    {
        BalloonDevice balloon = new("balloon0");
        using SimulatedGuest guest = SimulatedGuest.For(balloon, new SimulatedGuestOptions { MemoryBytes = MemoryBytes });
        uint[] same = new uint[100_000];
        Array.Fill(same, 16_000u);
        DriverRequest request = guest.Queue(Inflate).Add([MemoryMarshal.AsBytes(same.AsSpan()).ToArray()]);
        guest.Kick(Inflate);
        int turns = 0;
        while (!request.IsUsed && turns < 1000)
        {
            guest.Reactor.RunOnce(TimeSpan.Zero);
            guest.Queue(Inflate).Collect();
            turns++;
        }
        Assert.InRange(turns, 10, 999);
    }

    [Fact]
    public void A_reset_in_the_middle_of_such_a_request_is_not_held_up()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new BalloonDevice("balloon0"), new SimulatedGuestOptions { MemoryBytes = MemoryBytes });
        uint[] same = new uint[100_000];
        Array.Fill(same, 16_000u);
        guest.Queue(Inflate).Add([MemoryMarshal.AsBytes(same.AsSpan()).ToArray()]);
        guest.Kick(Inflate).Reactor.RunOnce(TimeSpan.Zero);
        guest.Reset();
        Assert.Equal(DeviceStatus.None, guest.Driver.Status);
    }

    [Theory]
    [InlineData(new byte[] { 0, 0x40, 0, 0 })] // the first page behind the memory
    [InlineData(new byte[] { 0xff, 0xff, 0xff, 0xff })]
    [InlineData(new byte[] { 1, 0, 0 })]
    public void Pages_outside_of_memory_and_parts_of_numbers_are_the_drivers_fault_5_5_6_1(byte[] request)
    {
        BalloonDevice balloon = new("balloon0");
        using SimulatedGuest guest = SimulatedGuest.For(balloon, new SimulatedGuestOptions { MemoryBytes = MemoryBytes });
        DriverRequest made = guest.Queue(Inflate).Add([request]);
        guest.Kick(Inflate).RunUntilIdle();
        Assert.True(made.IsUsed);
        Assert.True(guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
        Assert.Equal(0, balloon.ReturnedBytes);
    }

    [Fact]
    public void Pages_the_guest_reports_free_go_back_too_5_5_6_7()
    {
        BalloonDevice balloon = new("balloon0");
        using SimulatedGuest guest = SimulatedGuest.For(balloon, new SimulatedGuestOptions { MemoryBytes = MemoryBytes });
        Assert.True(guest.Memory.TryGetSpan(32 << 20, 8 << 20, out Span<byte> free));
        free.Fill(7);
        long before = ResidentKiB(guest.Memory);
        DriverRequest report = guest.Queue(Reporting).Add([], [new GuestBuffer(32 << 20, 4 << 20), new GuestBuffer(36 << 20, 4 << 20)]);
        guest.Kick(Reporting).RunUntilIdle();
        Assert.Equal((true, 0u), (report.IsUsed, report.UsedLength));
        Assert.Equal(8 << 20, balloon.ReturnedBytes);
        Assert.True(ResidentKiB(guest.Memory) <= before - (7 << 10));
        Assert.Equal(0, free[0]);
    }

    [Theory]
    [InlineData(0u, true)]
    [InlineData(0xaaaaaaaau, false)]
    public void Pages_that_must_keep_a_pattern_stay_unless_it_is_zero_5_5_6_7(uint pattern, bool goesBack)
    {
        BalloonDevice balloon = new("balloon0");
        using SimulatedGuest guest = SimulatedGuest.For(balloon, new SimulatedGuestOptions { MemoryBytes = MemoryBytes });
        guest.Driver.WriteConfig(BalloonProtocol.ConfigPoison, pattern);
        Assert.True(guest.Memory.TryGetSpan(32 << 20, 4 << 20, out Span<byte> free));
        free.Fill((byte)pattern);
        DriverRequest report = guest.Queue(Reporting).Add([], [new GuestBuffer(32 << 20, 4 << 20)]);
        guest.Kick(Reporting).RunUntilIdle();
        Assert.True(report.IsUsed);
        Assert.Equal(goesBack ? 4 << 20 : 0, balloon.ReturnedBytes);
        Assert.False(free.ContainsAnyExcept((byte)pattern));
    }

    [Fact]
    public void A_queue_that_was_not_negotiated_takes_no_number_5_5_2()
    {
        BalloonDevice balloon = new("balloon0");
        using SimulatedGuest guest = SimulatedGuest.For(balloon, new SimulatedGuestOptions
        {
            MemoryBytes = MemoryBytes,
            Features = ~BalloonProtocol.FeatureStatistics,
        });
        DriverRequest report = guest.Queue(2).Add([], [new GuestBuffer(32 << 20, 4 << 20)]);
        guest.Kick(2).RunUntilIdle();
        Assert.True(report.IsUsed);
        Assert.Equal(4 << 20, balloon.ReturnedBytes);
        guest.Queue(3).Add([], [new GuestBuffer(32 << 20, 4 << 20)]);
        guest.Kick(3).RunUntilIdle();
        Assert.True(guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
    }

    [Fact]
    public void The_target_is_told_and_the_actual_size_heard_5_5_6()
    {
        BalloonDevice balloon = new("balloon0") { TargetBytes = 1 << 20 };
        using SimulatedGuest guest = SimulatedGuest.For(balloon);
        Assert.Equal(256u, guest.Driver.ReadConfig<uint>(0));
        balloon.TargetBytes = 2 << 20;
        Assert.Equal((512u, 1), (guest.Driver.ReadConfig<uint>(0), guest.ConfigInterrupts));
        guest.Driver.WriteConfig(4, 300u);
        Assert.Equal(300UL * PageBytes, balloon.ActualBytes);
        guest.Driver.WriteConfig(0, 1u);
        Assert.Equal(2UL << 20, balloon.TargetBytes);
        guest.Reset();
        Assert.Equal(0u, balloon.ActualBytes);
    }

    [Fact]
    public async Task Statistics_are_those_the_driver_fills_in_when_it_is_asked_5_5_6_3()
    {
        IReadOnlyDictionary<BalloonStatistic, ulong> statistics = await AskAndFill(TestContext.Current.CancellationToken);
        Assert.Equal(2u, statistics[BalloonStatistic.FreeBytes]);
        Assert.Equal(99u, statistics[BalloonStatistic.TotalBytes]);
    }

    [Fact]
    public void Statistics_are_asked_for_anew_when_the_balloon_changed()
    {
        BalloonDevice balloon = new("balloon0");
        using SimulatedGuest guest = SimulatedGuest.For(balloon);
        Assert.Null(balloon.LastStatistics);
        DriverRequest first = guest.Queue(Statistics).Add([Filled(free: 1)]);
        guest.Kick(Statistics).RunUntilIdle();
        Assert.Equal((false, 1ul), (first.IsUsed, balloon.LastStatistics![BalloonStatistic.FreeBytes]));
        guest.Driver.WriteConfig(BalloonProtocol.ConfigActual, 300u);
        guest.RunUntil(() => first.IsUsed);
        DriverRequest second = guest.Queue(Statistics).Add([Filled(free: 2)]);
        guest.Kick(Statistics).RunUntilIdle();
        Assert.Equal((false, 2ul), (second.IsUsed, balloon.LastStatistics![BalloonStatistic.FreeBytes]));
    }

    // Not asynchronous itself: the guest stays on its thread.
    private static Task<IReadOnlyDictionary<BalloonStatistic, ulong>> AskAndFill(CancellationToken cancellation)
    {
        BalloonDevice balloon = new("balloon0");
        using SimulatedGuest guest = SimulatedGuest.For(balloon);
        DriverRequest first = guest.Queue(Statistics).Add([Filled(free: 1)]);
        guest.Kick(Statistics).RunUntilIdle();
        Assert.False(first.IsUsed);

        Task<IReadOnlyDictionary<BalloonStatistic, ulong>> asked = balloon.ReadStatisticsAsync(cancellation);
        guest.RunUntil(() => first.IsUsed);
        Assert.False(asked.IsCompleted);
        guest.Queue(Statistics).Add([Filled(free: 2)]);
        guest.Kick(Statistics).RunUntil(() => asked.IsCompleted);
        return asked;
    }

    /// <summary>What a driver puts into the buffer of statistics.</summary>
    internal static byte[] Filled(ulong free)
    {
        byte[] entries = new byte[20];
        BinaryPrimitives.WriteUInt16LittleEndian(entries, (ushort)BalloonStatistic.FreeBytes);
        BinaryPrimitives.WriteUInt64LittleEndian(entries.AsSpan(2), free);
        BinaryPrimitives.WriteUInt16LittleEndian(entries.AsSpan(10), (ushort)BalloonStatistic.TotalBytes);
        BinaryPrimitives.WriteUInt64LittleEndian(entries.AsSpan(12), 99);
        return entries;
    }

    [Fact]
    public void A_statistics_buffer_that_is_kept_until_it_is_wanted_is_no_latency()
    {
        BalloonDevice balloon = new("balloon0") { MeasureLatency = true };
        using SimulatedGuest guest = SimulatedGuest.For(balloon);
        DriverRequest buffer = guest.Queue(2).Add([new byte[10]]);
        guest.Kick(2).RunUntilIdle();
        Assert.False(buffer.IsUsed);
        long kept = Stopwatch.GetTimestamp();
        // Not a wait for something: the time itself is what must not be counted.
        Thread.Sleep(1000);
        _ = balloon.ReadStatisticsAsync(TestContext.Current.CancellationToken);
        guest.RunUntil(() => buffer.IsUsed);
        double seconds = Stopwatch.GetElapsedTime(kept).TotalSeconds;
        Assert.InRange(guest.Device.QueueStatistics[2].Latency.Percentile(100) / 1e9, 0, seconds / 2);
    }

    /// <summary>What of a guest's memory takes memory of the host: Rss of its mapping in /proc/self/smaps.</summary>
    private static long ResidentKiB(GuestMemory memory)
    {
        string start = memory.Regions[0].HostAddress.ToString("x", CultureInfo.InvariantCulture) + "-";
        string rss = File.ReadLines("/proc/self/smaps").SkipWhile(line => !line.StartsWith(start, StringComparison.Ordinal))
            .First(line => line.StartsWith("Rss:", StringComparison.Ordinal));
        return long.Parse(rss.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
    }
}
