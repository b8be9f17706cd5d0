using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>What a device has a reactor watch: one subscriber, which goes as one when the driver goes, or when a handler throws.</summary>
public abstract class DeviceSourcesTests(PollerKind poller) : PollerSuite(poller)
{
    /// <summary>More descriptors than a test has open.</summary>
    private const int DescriptorsMax = 4096;

    [Fact]
    public void A_queue_is_watched_by_its_kick_which_goes_with_a_reset() => Check(new EntropyDevice("rng0"), 1);

    [Fact]
    public void A_device_with_several_queues_has_an_eventfd_for_each() =>
        Check(new BlockDevice("vda", new FaultyBackend(), new DiskSpec { Queues = 3 }), 3);

    [Fact]
    public void A_device_with_queues_a_host_side_and_a_rate_limit_is_one_subscriber_that_goes_as_one()
    {
        HostSideDevice device = new() { Limit = new RateLimit(operationsPerSecond: 1) };
        using SimulatedGuest guest = SimulatedGuest.For(device, new SimulatedGuestOptions { Poller = Poller, Start = false });
        int armed = guest.Reactor.Timers.Armed;
        int before = Watched(guest.Reactor);
        guest.Start().RunUntilIdle();
        Assert.Equal(before + 3, Watched(guest.Reactor));
        Subscriber owner = Assert.Single(Owners(guest.Reactor));
        Assert.Equal("host-side", owner.Name);
        Assert.Equal(3, owner.Subscriptions.Count);
        // The second request of a second waits for its token: the limit's timer is armed.
        for (int i = 0; i < 2; i++) guest.Queue(0).Add(writable: [1]);
        guest.Kick(0);
        for (int i = 0; i < 8; i++) guest.Reactor.RunOnce(TimeSpan.Zero);
        Assert.Equal(armed + 1, guest.Reactor.Timers.Armed);
        Assert.Equal(3, owner.RemoveFrom(guest.Reactor));
        Assert.Equal(before, Watched(guest.Reactor));
        Assert.Equal(armed, guest.Reactor.Timers.Armed);
    }

    [Fact]
    public void A_host_side_whose_handler_throws_ends_the_device_and_its_driver_is_asked_for_a_reset()
    {
        HostSideDevice device = new();
        List<HandlerFailure> failures = [];
        using SimulatedGuest guest = SimulatedGuest.For(device, new SimulatedGuestOptions
        {
            Start = false,
            Reactor = options => options with
            {
                Poller = Poller,
                OnHandlerFailure = failures.Add,
                HandlerFailurePolicy = HandlerFailurePolicy.RemoveSubscriber,
            },
        });
        int before = Watched(guest.Reactor);
        guest.Start().RunUntilIdle();
        device.Throws = true;
        device.HostFd!.Signal();
        guest.RunUntilIdle();
        Assert.Equal("host-side", Assert.Single(failures).Source.Split('/')[0]);
        Assert.Equal(before, Watched(guest.Reactor));
        Assert.True(guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
        // A worker of such a device is not called any more, whatever its host side does.
        guest.Queue(0).Add(writable: [1]);
        device.ServeFromHost();
        guest.RunUntilIdle();
        Assert.Equal(0, device.Served);
        device.Throws = false;
        guest.Reset().Start().RunUntilIdle();
        DriverRequest request = guest.Queue(0).Add(writable: [1]);
        guest.Kick(0).RunUntilIdle();
        Assert.True(request.IsUsed);
    }

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
            Assert.Equal(device.Name, Assert.Single(Owners(guest.Reactor)).Name);
            guest.Pause();
            Assert.True(Watched(guest.Reactor) - before < started, "a device that is paused listens to its driver");
            guest.Resume().RunUntilIdle();
            Assert.Equal(started, Watched(guest.Reactor) - before);
            guest.Reset().RunUntilIdle();
            Assert.Equal(before, Watched(guest.Reactor));
        }
    }

    private static int Watched(Reactor reactor) => Subscriptions(reactor).Count();

    private static IEnumerable<Subscriber> Owners(Reactor reactor) =>
        Subscriptions(reactor).Select(subscription => subscription.Owner).OfType<Subscriber>().Distinct();

    private static IEnumerable<Subscription> Subscriptions(Reactor reactor)
    {
        for (int fd = 0; fd < DescriptorsMax; fd++)
        {
            if (reactor.TryFind(fd, out Subscription? found)) yield return found;
        }
    }

    /// <summary>Two queues, and an eventfd of the host that it adds to its reactor as any device does.</summary>
    private sealed class HostSideDevice : VirtioDevice
    {
        internal HostSideDevice() : base(VirtioDeviceType.Entropy, "host-side")
        {
            AddQueue("first", 16, Serve);
            AddQueue("second", 16, Serve);
        }

        internal bool Throws { get; set; }

        internal int Served { get; private set; }

        internal EventFd? HostFd { get; private set; }

        internal void ServeFromHost() => ServeQueue(0);

        protected override void OnDriver(DriverSession driver)
        {
            HostFd = new EventFd();
            driver.Reactor.Add(Interest.Kick.WithFd(HostFd).WithHandler(_ =>
            {
                if (Throws) throw new InvalidDataException("a bug");
            }));
        }

        private void Serve(QueueContext context)
        {
            while (context.Queue.TryPop(out DescriptorChain? chain))
            {
                Served++;
                context.Queue.Push(chain, 0);
            }
        }
    }
}

public sealed class DeviceSourcesOnEpollTests() : DeviceSourcesTests(PollerKind.Epoll);

public sealed class DeviceSourcesOnIoRingTests() : DeviceSourcesTests(PollerKind.IoRing);
