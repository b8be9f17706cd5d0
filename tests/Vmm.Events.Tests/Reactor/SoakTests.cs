using System.Globalization;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>
/// Very many events among random adds, modifies and removes: nothing grows. VMM_SOAK_EVENTS sets how many (a long one: 50000000), VMM_SEED
/// replays.
/// </summary>
public abstract class SoakTests(ITestOutputHelper output) : ReactorSuite
{
    private const int WatchedMax = 300;
    private const long EventsByDefault = 300_000;
    private const long MemoryGrowthMax = 4 << 20;
    private const long ResidentGrowthMax = 64 << 20;

    private readonly List<Source> _sources = [];
    private long _sent;

    [Fact]
    public void Memory_and_descriptors_stay_flat_over_very_many_events()
    {
        long goal = long.TryParse(Environment.GetEnvironmentVariable("VMM_SOAK_EVENTS"), CultureInfo.InvariantCulture, out long wanted) ? wanted : EventsByDefault;
        int seed = TestSeed.Take();
        Random random = new(seed);
        Turn();
        Memory();
        string[] descriptors = OpenDescriptors.OfReactors();

        // A quarter to settle in, then three to stay.
        RunUntil(goal / 4, random);
        (long managed, long resident) settled = Memory();
        RunUntil(goal, random);
        (long managed, long resident) end = Memory();

        Assert.Empty(Failures);
        Assert.InRange(end.managed, 0, settled.managed + MemoryGrowthMax);
        Assert.InRange(end.resident, 0, settled.resident + ResidentGrowthMax);
        while (_sources.Count > 0) Remove(_sources.Count - 1);
        Assert.Equal(descriptors, OpenDescriptors.OfReactors());
        output.WriteLine($"{Reactor.Statistics.Events} events of {_sent} signals, {settled.managed >> 10} then {end.managed >> 10} KiB managed");
    }

    private void RunUntil(long events, Random random)
    {
        while (Reactor.Statistics.Events < events)
        {
            // Tends to half of the most.
            if (random.Next(WatchedMax) >= _sources.Count) Add(random);
            else if (random.Next(4) == 0) Remove(random.Next(_sources.Count));
            if (_sources.Count == 0) continue;
            if (random.Next(3) == 0) Modify(_sources[random.Next(_sources.Count)], random);
            for (int fires = random.Next(60); fires > 0; fires--, _sent++) _sources[random.Next(_sources.Count)].Fd.Signal();
            Turn();
        }
    }

    private void Add(Random random)
    {
        Source source = new(new EventFd());
        source.Subscription = AnyInterest(random).WithFd(source.Fd).WithHandler(fd => fd.TryRead(out _)).RegisterInto(Reactor);
        _sources.Add(source);
    }

    private void Modify(Source source, Random random) => Reactor.Modify(source.Subscription!, AnyInterest(random));

    private void Remove(int index)
    {
        Assert.True(Reactor.Remove(_sources[index].Subscription!));
        _sources.RemoveAt(index);
    }

    private static Interest AnyInterest(Random random) => random.Next(4) switch
    {
        0 => Interest.Readable,
        1 => Interest.Readable.OneShot,
        _ => Interest.Kick,
    };

    private static (long Managed, long Resident) Memory()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        long pages = long.Parse(File.ReadAllText("/proc/self/statm").Split(' ')[1], CultureInfo.InvariantCulture);
        return (GC.GetTotalMemory(forceFullCollection: true), pages * Environment.SystemPageSize);
    }

    private sealed class Source(EventFd fd)
    {
        internal EventFd Fd => fd;

        internal Subscription<EventFd>? Subscription { get; set; }
    }
}

[Collection(Alone.Name)]
public sealed class SoakOnEpollTests(ITestOutputHelper output) : SoakTests(output);

[Collection(Alone.Name)]
public sealed class SoakOnIoRingTests(ITestOutputHelper output) : SoakTests(output)
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
