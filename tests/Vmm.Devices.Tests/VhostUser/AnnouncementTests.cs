using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>What the operator reads of connections.</summary>
public abstract class AnnouncementTests(PollerKind poller) : PollerSuite(poller)
{
    [Fact]
    public void A_front_end_is_named_with_what_its_driver_took_and_when_it_left()
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        using (DiskDriver driver = new(served.Connect())) driver.ReadSector(0);
        AssertLogs(served, $"vda: a front-end is connected: process {Environment.ProcessId} (");
        AssertLogs(served, "vda: a driver runs: split rings of 16 entries; INDIRECT_DESC, EVENT_IDX, VERSION_1");
        AssertLogs(served, "vda: the front-end left after ");
    }

    [Fact]
    public void A_front_end_that_comes_and_goes_fills_no_log()
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        long start = Environment.TickCount64;
        for (int i = 0; i < 100; i++) HostileFrontEndTests.AssertNextIsServed(served);
        long seconds = ((Environment.TickCount64 - start) / 1000) + 2;
        Assert.InRange(served.Log.Lines.Count(), 2, seconds * 6);
    }

    [Fact]
    public void A_driver_without_shared_memory_gets_a_hint()
    {
        ManualClock clock = new();
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice(), clock: clock);
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        using EventFd kick = new();
        frontend.Do(VhostUserRequest.SetVringKick, VhostUserFrontend.RingWord(0), [kick.Number]);
        clock.Advance(TimeSpan.FromSeconds(9));
        Assert.Equal(8UL, BitConverter.ToUInt64(frontend.GetConfig(0, sizeof(ulong))));
        Assert.DoesNotContain(served.Log.Lines, line => line.Contains("share=on", StringComparison.Ordinal));
        clock.Advance(TimeSpan.FromSeconds(2));
        AssertLogs(served, "vda: the driver has been ready for 10 s, and the front-end has shared no memory: does the guest's memory have share=on?");
    }

    private static void AssertLogs(ServedDevice served, string line) => Assert.True(
        SpinWait.SpinUntil(() => served.Log.Lines.Any(logged => logged.StartsWith(line, StringComparison.Ordinal)), TimeSpan.FromSeconds(30)),
        $"'{line}' is not in: {string.Join('\n', served.Log.Lines)}");
}

public sealed class AnnouncementsOnEpollTests() : AnnouncementTests(PollerKind.Epoll);

public sealed class AnnouncementsOnIoRingTests() : AnnouncementTests(PollerKind.IoRing);
