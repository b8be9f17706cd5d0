using System.Diagnostics;
using Vmm.Devices.Simulation;
using Vmm.Devices.Tests.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>The server goes, and comes back or does not.</summary>
[Collection(Alone.Name)]
public sealed class NbdServerGoneTests
{
    private const int Bytes = 1 << 20;
    private static readonly TimeSpan Long = TimeSpan.FromSeconds(60);

    [Theory]
    [InlineData("Simple")]
    [InlineData("Structured")]
    [InlineData("Extended")]
    public void Requests_that_were_lost_with_a_connection_are_sent_again(string replies)
    {
        using NbdTestServer server = new(Bytes) { Replies = Enum.Parse<NbdReplies>(replies) };
        int lost = 0;
        // The first four requests are never answered: the connection is cut instead.
        server.Lie = (_, stream) => Interlocked.Increment(ref lost) <= 4 && Throw(stream);
        RecordingLogger log = new();
        using SimulatedGuest guest = Guest(server.Uri, Long, log);
        byte[] data = BlockGuest.Pattern(64 * 512);
        DriverRequest write = guest.Queue(0).Write(0, data);
        guest.Kick(0).RunUntil(() => write.IsUsed);
        DriverRequest read = guest.Queue(0).Read(0, 64);
        guest.Kick(0).RunUntil(() => read.IsUsed);
        Assert.Equal((BlockStatus.Ok, BlockStatus.Ok), (write.Status(), read.Status()));
        Assert.Equal(data, read.Data());
        Assert.Equal(data, server.Content[..data.Length]);
        Assert.True(Disk(guest).Reconnects >= 4, $"{Disk(guest).Reconnects} reconnects");
        Assert.Contains(log.Lines, line => line.Contains("closed the connection: requests wait for it, 60 s at "
            + "most", StringComparison.Ordinal));
        Assert.Contains(log.Lines, line => line.Contains("is back after", StringComparison.Ordinal));
    }

    [Fact]
    public void Verified_writes_go_through_twenty_kills_of_a_server()
    {
        using ScratchImage image = new(Bytes);
        using ServerProcess server = ServerProcess.QemuNbd(image.Path);
        using SimulatedGuest guest = Guest(server.Uri, Long);
        VerifiedLoad load = new(guest, Bytes);
        for (int kill = 0; kill < 20; kill++)
        {
            load.Begin();
            server.Kill();
            server.Restart();
            load.Finish();
            long expectedReconnects = kill + 1;
            guest.RunUntil(() => Disk(guest).Reconnects >= expectedReconnects);
        }
        Assert.Equal(load.Model, image.Bytes);
    }

    [Fact]
    public void A_server_that_stays_away_is_an_error_once_patience_is_over_and_serves_again_when_it_is_back()
    {
        using NbdTestServer server = new(Bytes);
        RecordingLogger log = new();
        using SimulatedGuest guest = Guest(server.Uri, TimeSpan.FromSeconds(1), log);
        Ok(guest, guest.Queue(0).Write(0, new byte[512]));
        server.Hangs = true;
        server.Cut();
        DriverRequest read = guest.Queue(0).Read(0), flush = guest.Queue(0).Ask(BlockRequestType.Flush);
        guest.Kick(0).RunUntil(() => read.IsUsed && flush.IsUsed);
        Assert.Equal((BlockStatus.IoError, BlockStatus.IoError), (read.Status(), flush.Status()));
        server.Hangs = false;
        DriverRequest again;
        Stopwatch clock = Stopwatch.StartNew();
        do
        {
            again = guest.Queue(0).Read(0);
            guest.Kick(0).RunUntil(() => again.IsUsed);
        }
        while (again.Status() != BlockStatus.Ok && clock.Elapsed < Long);
        Assert.Equal(BlockStatus.Ok, again.Status());
        // A flush that could not be asked for has lost nothing.
        Ok(guest, guest.Queue(0).Ask(BlockRequestType.Flush));
        Assert.Contains(log.Lines, line => line.Contains("cannot read from the disk, NBD export", StringComparison.Ordinal));
    }

    [Fact]
    public void A_flush_that_a_server_may_have_failed_before_it_went_is_never_forgotten()
    {
        using NbdTestServer server = new(Bytes);
        using SimulatedGuest guest = Guest(server.Uri, TimeSpan.FromSeconds(1));
        Ok(guest, guest.Queue(0).Write(0, new byte[512]));
        // It has the flush, and its answer never comes.
        server.Lie = (request, _) => request.Command == NbdCommand.Flush;
        DriverRequest flush = guest.Queue(0).Ask(BlockRequestType.Flush);
        guest.Kick(0).RunUntil(() => server.Seen(NbdCommand.Flush).Length == 1);
        (server.Hangs, server.Lie) = (true, null);
        server.Cut();
        guest.RunUntil(() => flush.IsUsed);
        Assert.Equal(BlockStatus.IoError, flush.Status());
        server.Hangs = false;
        guest.RunUntil(() => Disk(guest).IsConnected);
        Ok(guest, guest.Queue(0).Read(0));
        DriverRequest later = guest.Queue(0).Ask(BlockRequestType.Flush);
        guest.Kick(0).RunUntil(() => later.IsUsed);
        Assert.Equal(BlockStatus.IoError, later.Status());
    }

    [Fact]
    public void A_flush_that_a_reset_ends_is_made_again_by_the_next_driver()
    {
        using NbdTestServer server = new(Bytes);
        using SimulatedGuest guest = Guest(server.Uri, Timeout.InfiniteTimeSpan);
        server.Lie = (request, _) => request.Command == NbdCommand.Flush;
        guest.Queue(0).Ask(BlockRequestType.Flush);
        guest.Kick(0).RunUntil(() => server.Seen(NbdCommand.Flush).Length == 1);
        (server.Hangs, server.Lie) = (true, null);
        server.Cut();
        guest.RunUntil(() => !Disk(guest).IsConnected);
        guest.Reset();
        server.Hangs = false;
        guest.Start();
        Ok(guest, guest.Queue(0).Ask(BlockRequestType.Flush));
    }

    [Fact]
    public void A_server_is_waited_for_half_a_minute_unless_something_else_is_said()
    {
        using NbdTestServer server = new(Bytes);
        Assert.Equal(TimeSpan.FromSeconds(30), Patience(server.Uri));
        Assert.Equal(TimeSpan.FromSeconds(7), Patience($"{server.Uri},reconnect=7"));

        static TimeSpan Patience(string text)
        {
            using VirtioDevice device = DiskSpec.Parse(text).Open("vda");
            return ((NbdDisk)((BlockDevice)device).Backend).Patience;
        }
    }

    [Fact]
    public void Without_patience_a_lost_connection_is_an_error_at_once()
    {
        using NbdTestServer server = new(Bytes) { Lie = (_, stream) => Throw(stream) };
        using SimulatedGuest guest = Guest(server.Uri, TimeSpan.Zero);
        DriverRequest read = guest.Queue(0).Read(0);
        guest.Kick(0).RunUntil(() => read.IsUsed);
        Assert.Equal(BlockStatus.IoError, read.Status());
    }

    [Fact]
    public void A_reset_does_not_wait_for_a_server_that_is_away()
    {
        using NbdTestServer server = new(Bytes);
        using SimulatedGuest guest = Guest(server.Uri, Timeout.InfiniteTimeSpan);
        Ok(guest, guest.Queue(0).Write(0, new byte[512]));
        server.Hangs = true;
        server.Cut();
        for (int i = 0; i < 10; i++) guest.Queue(0).Read((ulong)i);
        guest.Kick(0).RunUntil(() => !Disk(guest).IsConnected);
        guest.Reset();
        server.Hangs = false;
        guest.Start();
        Ok(guest, guest.Queue(0).Read(0));
    }

    [Fact]
    public void Reconnects_leave_no_descriptor_behind() => Reconnect(200);

    [Fact, Trait("Long", "true")]
    public void Ten_thousand_reconnects_leave_no_descriptor_behind() => Reconnect(10_000);

    private static void Reconnect(int rounds)
    {
        using NbdTestServer server = new(Bytes);
        int count = 0;
        // Every second request is answered by a hang-up, and sent again: the request of each round.
        server.Lie = (_, stream) => Interlocked.Increment(ref count) % 2 == 0 && Throw(stream);
        using SimulatedGuest guest = Guest(server.Uri, Long);
        Ok(guest, guest.Queue(0).Read(0));
        int before = Directory.GetFileSystemEntries("/proc/self/fd").Length;
        for (int round = 0; round < rounds; round++)
        {
            DriverRequest read = guest.Queue(0).Read(0);
            guest.Kick(0).RunUntil(() => read.IsUsed);
            Assert.Equal(BlockStatus.Ok, read.Status());
            guest.Queue(0).Free(read);
        }
        Assert.Equal(rounds, Disk(guest).Reconnects);
        // The server is in this process too: its last threads may still hold theirs.
        Stopwatch clock = Stopwatch.StartNew();
        while (Directory.GetFileSystemEntries("/proc/self/fd").Length > before + 4 && clock.Elapsed < Long) Thread.Sleep(20);
        Assert.InRange(Directory.GetFileSystemEntries("/proc/self/fd").Length, 0, before + 4);
    }

    [Fact]
    public void Tries_to_reach_a_server_are_a_second_apart_at_most()
    {
        using NbdTestServer server = new(Bytes);
        ManualClock clock = new();
        int tries = 0;
        using SimulatedGuest guest = GuestOf(server, clock, () => Interlocked.Increment(ref tries));
        Ok(guest, guest.Queue(0).Read(0));
        List<TimeSpan> gaps = [];
        server.Hangs = true;
        server.Cut();
        while (gaps.Count < 12) gaps.Add(Try());
        Assert.Equal(TimeSpan.FromMilliseconds(20), gaps[0]);
        Assert.Equal(gaps.Order(), gaps);
        Assert.Equal(TimeSpan.FromSeconds(1), gaps[^1]);
        server.Hangs = false;
        Try();
        guest.RunUntil(() => Disk(guest).IsConnected);
        // A server that has answered is tried soon again.
        Ok(guest, guest.Queue(0).Read(0));
        server.Hangs = true;
        server.Cut();
        Assert.Equal(TimeSpan.FromMilliseconds(20), Try());
        server.Hangs = false;

        // The time until the next try, which takes place.
        TimeSpan Try()
        {
            int before = tries;
            guest.RunUntil(() => clock.UntilNextTimer is not null);
            TimeSpan wait = clock.UntilNextTimer!.Value;
            clock.Advance(wait);
            guest.RunUntil(() => Volatile.Read(ref tries) > before);
            return wait;
        }
    }

    [Fact]
    public void A_guest_whose_server_is_killed_three_times_within_four_seconds_goes_on_within_a_second_of_its_return()
    {
        using NbdTestServer server = new(Bytes);
        ManualClock clock = new();
        using SimulatedGuest guest = GuestOf(server, clock);
        Ok(guest, guest.Queue(0).Read(0));
        // Nothing is answered between the kills: the tries of the second and the third begin where those before ended.
        server.Lie = (_, _) => true;
        DriverRequest read = guest.Queue(0).Read(0);
        guest.Kick(0).RunUntil(() => server.Seen(NbdCommand.Read).Length == 2);
        long start = clock.GetTimestamp();
        for (int kill = 0; kill < 3; kill++)
        {
            Assert.InRange(clock.GetElapsedTime(start), TimeSpan.Zero, TimeSpan.FromSeconds(4));
            server.Hangs = true;
            server.Cut();
            for (long down = clock.GetTimestamp(); clock.GetElapsedTime(down) < TimeSpan.FromMilliseconds(300);) Pass();
            server.Hangs = false;
            if (kill == 2) server.Lie = null;
            long back = clock.GetTimestamp();
            while (!Disk(guest).IsConnected) Pass();
            Assert.InRange(clock.GetElapsedTime(back), TimeSpan.Zero, TimeSpan.FromSeconds(1));
            int seen = 3 + kill;
            guest.RunUntil(() => server.Seen(NbdCommand.Read).Length == seen);
        }
        guest.RunUntil(() => read.IsUsed);
        Assert.Equal(BlockStatus.Ok, read.Status());

        // Time goes on to the next try, and until that has failed, or the server is reached.
        void Pass()
        {
            guest.RunUntil(IsWaitingOrBack);
            if (clock.UntilNextTimer is { } wait) clock.Advance(wait);
            guest.RunUntil(IsWaitingOrBack);
        }

        bool IsWaitingOrBack() => clock.UntilNextTimer is not null || (Disk(guest).IsConnected && !server.Hangs);
    }

    [Fact]
    public void A_disk_has_the_size_that_its_server_says_when_it_is_back()
    {
        using NbdTestServer server = new(Bytes);
        using SimulatedGuest guest = Guest(server.Uri, Long);
        Ok(guest, guest.Queue(0).Read((Bytes / 512) - 1));
        server.Content = new byte[2 * Bytes];
        server.Cut();
        guest.RunUntil(() => guest.Driver.ReadConfig<ulong>(0) == 2 * Bytes / 512);
        Assert.True(guest.ConfigInterrupts > 0);
        Ok(guest, guest.Queue(0).Read((2 * Bytes / 512) - 1));
        server.Content = new byte[Bytes / 2];
        server.Cut();
        guest.RunUntil(() => guest.Driver.ReadConfig<ulong>(0) == Bytes / 2 / 512);
        DriverRequest gone = guest.Queue(0).Read(Bytes / 2 / 512);
        guest.Kick(0).RunUntil(() => gone.IsUsed);
        Assert.Equal(BlockStatus.IoError, gone.Status());
        Ok(guest, guest.Queue(0).Read((Bytes / 2 / 512) - 1));
    }

    [Theory]
    [InlineData("the export has become read-only")]
    [InlineData("the server promises less than before")]
    [InlineData("the export takes blocks of 4096")]
    public void A_server_that_comes_back_as_another_is_refused_in_a_sentence(string sentence)
    {
        using NbdTestServer server = new(Bytes);
        RecordingLogger log = new();
        using SimulatedGuest guest = Guest(server.Uri, Timeout.InfiniteTimeSpan, log);
        NbdFlags flags = server.Flags;
        (uint, uint, uint) blocks = server.Blocks;
        if (sentence.Contains("read-only", StringComparison.Ordinal)) server.Flags |= NbdFlags.ReadOnly;
        else if (sentence.Contains("promises", StringComparison.Ordinal)) server.Flags &= ~NbdFlags.SendFlush;
        else server.Blocks = (4096, 4096, 1 << 25);
        server.Cut();
        guest.RunUntil(() => log.Lines.Any(line => line.Contains(sentence, StringComparison.Ordinal)));
        (server.Flags, server.Blocks) = (flags, blocks);
        Ok(guest, guest.Queue(0).Read(0));
    }

    internal static SimulatedGuest Guest(string uri, TimeSpan patience, RecordingLogger? log = null, int queues = 1) => SimulatedGuest.For(
        new BlockDevice("vda", NbdDisk.Open(uri, readOnly: false, patience),
            new DiskSpec { Queues = queues })
        { Logger = log ?? new RecordingLogger() },
        new SimulatedGuestOptions { MemoryBytes = 64 << 20 });

    /// <summary>A guest of a server that is waited for without an end, on a clock of the test.</summary>
    private static SimulatedGuest GuestOf(NbdTestServer server, ManualClock clock, Action? onTry = null)
    {
        NbdAddress address = (NbdAddress)DiskAddress.Parse(server.Uri);
        NbdConnection Connect(TimeSpan reach)
        {
            onTry?.Invoke();
            return NbdHandshake.Connect(address, reach);
        }
        NbdConnection first = NbdHandshake.Connect(address, Long);
        return SimulatedGuest.For(
            new BlockDevice("vda", new NbdDisk(address, Connect, first, readOnly: false, Timeout.InfiniteTimeSpan, connections: 1)),
            new SimulatedGuestOptions { MemoryBytes = 64 << 20, Clock = clock });
    }

    internal static NbdDisk Disk(SimulatedGuest guest) => (NbdDisk)((BlockDevice)guest.Device).Backend;

    internal static void Ok(SimulatedGuest guest, DriverRequest request)
    {
        guest.Kick(0).RunUntil(() => request.IsUsed);
        Assert.Equal(BlockStatus.Ok, request.Status());
    }

    /// <summary>Hangs up.</summary>
    internal static bool Throw(Stream stream) => throw new IOException($"the test has this server hang up on {stream}");
}
