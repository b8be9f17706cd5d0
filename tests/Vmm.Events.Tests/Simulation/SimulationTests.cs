using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>Events shuffled, delayed, split, merged, doubled and interrupted, from a seed, on virtual time. VMM_SEED replays.</summary>
public abstract class SimulationTests : ReactorSuite
{
    private const int Sources = 12;
    private readonly int _seed = TestSeed.Take();

    [Fact]
    public void The_same_seed_gives_the_same_run_and_another_seed_another()
    {
        List<int> first = RunOf(_seed);
        Assert.Equal(first, RunOf(_seed));
        Assert.Contains(Enumerable.Range(1, 10), offset => !RunOf(unchecked(_seed + offset)).SequenceEqual(first));
    }

    [Fact]
    public void No_count_is_lost_in_chaos_and_everything_happens()
    {
        Configure(options => options with { Simulation = EventSimulation.Chaos(_seed) });
        Random random = new(_seed);
        ulong[] heard = new ulong[Sources];
        ulong[] sent = new ulong[Sources];
        EventFd[] fds = [.. Enumerable.Range(0, Sources).Select(_ => new EventFd())];
        for (int i = 0; i < Sources; i++)
        {
            int source = i;
            Interest interest = (i % 3) switch { 0 => Interest.Readable, 1 => Interest.Kick, _ => Interest.Readable.OneShot };
            Subscription<EventFd>? self = null;
            self = interest.WithFd(fds[i]).WithHandler((fd, reactor) =>
            {
                if (fd.TryRead(out ulong count)) heard[source] += count;
                if (interest.IsOneShot) reactor.Modify(self!, interest);
            }).RegisterInto(Reactor);
        }
        for (int turn = 0; turn < 2_000; turn++)
        {
            for (int fires = random.Next(4); fires > 0; fires--)
            {
                int source = random.Next(Sources);
                fds[source].Signal();
                sent[source]++;
            }
            Turn();
        }
        // What is delayed longest, and as many interruptions as can come in a row.
        for (int i = 0; i < 200; i++) Turn();
        Assert.Equal(sent, heard);
        SimulationCounts counts = Reactor.SimulationCounts;
        Assert.All(new[] { counts.Shuffled, counts.Delayed, counts.Split, counts.Merged, counts.Duplicated, counts.Interrupted },
            count => Assert.True(count > 0, $"{counts}"));
    }

    [Fact]
    public void A_delayed_event_of_a_removed_subscription_never_comes()
    {
        Configure(options => options with { Simulation = new EventSimulation(_seed) { DelayChance = 0.99, DelayWaitsMax = 3 } });
        for (int round = 0; round < 50; round++)
        {
            bool isRemoved = false;
            EventFd fd = new();
            Subscription<EventFd> subscription = Interest.Kick.WithFd(fd).WithHandler(_ => Assert.False(isRemoved)).RegisterInto(Reactor);
            fd.Signal();
            Turn();
            Reactor.Remove(subscription);
            isRemoved = true;
            for (int i = 0; i < 5; i++) Turn();
        }
        Assert.Empty(Failures);
        Assert.Equal(0, Reactor.Statistics.Ghosts);
    }

    [Fact]
    public void An_event_of_two_bits_may_come_bit_by_bit_and_never_twice_as_one()
    {
        Configure(options => options with { Simulation = new EventSimulation(_seed) { SplitChance = 0.9 } });
        using SocketPair sockets = new();
        List<Readiness> seen = [];
        Interest.Readable.AndWritable.EdgeTriggered.WithFd(sockets.Watched)
            .WithHandler((OwnedFd _, Readiness ready, IReactor _) => seen.Add(ready)).RegisterInto(Reactor);
        sockets.PeerSends();
        for (int i = 0; i < 10; i++) Turn();
        Assert.InRange(seen.Count, 1, 2);
        Assert.Equal(1, seen.Count(ready => ready.IsReadable));
        Assert.Equal(1, seen.Count(ready => ready.IsWritable));
    }

    [Fact]
    public void A_day_of_timers_passes_at_once_on_virtual_time()
    {
        ManualClock clock = new();
        Configure(options => options with { Simulation = new EventSimulation(_seed) { InterruptChance = 0.3 }, TimeProvider = clock });
        int minutes = 0;
        Reactor.Timers.Create((_, _) => minutes++, "minute").Arm(TimeSpan.FromMinutes(1), TimeSpan.FromMinutes(1));
        long start = clock.GetTimestamp();
        while (clock.GetElapsedTime(start) < TimeSpan.FromDays(1)) Reactor.RunOnce(TimeSpan.FromHours(1));
        Assert.Equal(24 * 60, minutes);
    }

    [Fact]
    public void A_wait_without_an_event_ends_at_its_virtual_time()
    {
        ManualClock clock = new();
        Configure(options => options with { Simulation = new EventSimulation(_seed), TimeProvider = clock });
        long start = clock.GetTimestamp();
        Assert.Equal(0, Reactor.RunOnce(TimeSpan.FromHours(3)));
        Assert.Equal(TimeSpan.FromHours(3), clock.GetElapsedTime(start));
    }

    [Theory]
    [InlineData(1.0, 0.5)]
    [InlineData(-0.1, 0.5)]
    [InlineData(0.5, 1.5)]
    [InlineData(0.5, -0.1)]
    public void Chances_that_make_no_sense_are_refused(double delay, double shuffle) => Assert.Throws<ArgumentOutOfRangeException>(
        () => NewReactor(options => options with { Simulation = new EventSimulation(_seed) { DelayChance = delay, ShuffleChance = shuffle } }));

    /// <summary>The order in which sources were heard in a run whose inputs are always the same.</summary>
    private List<int> RunOf(int seed)
    {
        List<int> order = [];
        using Reactor reactor = NewReactor(options => options with { Simulation = EventSimulation.Chaos(seed) });
        EventFd[] fds = [.. Enumerable.Range(0, Sources).Select(_ => new EventFd())];
        for (int i = 0; i < Sources; i++)
        {
            int source = i;
            Interest.Kick.WithFd(fds[i]).WithHandler(_ => order.Add(source)).RegisterInto(reactor);
        }
        for (int turn = 0; turn < 60; turn++)
        {
            for (int i = turn % 3; i < Sources; i += 3) fds[i].Signal();
            reactor.RunOnce(TimeSpan.Zero);
        }
        return order;
    }
}

public sealed class SimulationOnEpollTests : SimulationTests;

public sealed class SimulationOnIoRingTests : SimulationTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
