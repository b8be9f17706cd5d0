using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>What a device has a reactor watch, and that it goes as one when the driver goes.</summary>
public abstract class DeviceSourcesTests(PollerKind poller) : PollerSuite(poller)
{
    /// <summary>More descriptors than a test has open.</summary>
    private const int DescriptorsMax = 4096;

    [Fact]
    public void A_queue_is_watched_by_its_kick_and_its_later_turns_and_both_go_with_a_reset() => Check(new EntropyDevice("rng0"), 2);

    [Fact]
    public void A_device_with_several_queues_has_two_eventfds_for_each() =>
        Check(new BlockDevice("vda", new FaultyBackend(), new DiskSpec { Queues = 3 }), 6);

    [Fact]
    public void A_device_that_waits_for_its_host_leaves_nothing_watched_after_a_reset() =>
        Check(new ConsoleDevice("console0", new ConsolePort("console", isConsole: true)), null);

    [Fact]
    public void A_balloon_leaves_nothing_watched_after_a_reset() => Check(new BalloonDevice("balloon0"), null);

    private static void Check(VirtioDevice device, int? sources)
    {
        using SimulatedGuest guest = SimulatedGuest.For(device, new SimulatedGuestOptions { Poller = Poller, Start = false });
        int before = Watched(guest.Reactor);
        for (int round = 0; round < 3; round++)
        {
            guest.Start().RunUntilIdle();
            int started = Watched(guest.Reactor) - before;
            if (sources is { } exactly) Assert.Equal(exactly, started); else Assert.True(started >= 2, $"{started} sources");
            guest.Pause();
            Assert.True(Watched(guest.Reactor) - before < started, "a device that is paused listens to its driver");
            guest.Resume().RunUntilIdle();
            Assert.Equal(started, Watched(guest.Reactor) - before);
            guest.Reset().RunUntilIdle();
            Assert.Equal(before, Watched(guest.Reactor));
        }
    }

    private static int Watched(Reactor reactor) => Enumerable.Range(0, DescriptorsMax).Count(fd => reactor.TryFind(fd, out _));
}

public sealed class DeviceSourcesOnEpollTests() : DeviceSourcesTests(PollerKind.Epoll);

public sealed class DeviceSourcesOnIoRingTests() : DeviceSourcesTests(PollerKind.IoRing);
