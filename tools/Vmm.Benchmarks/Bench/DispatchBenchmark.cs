using BenchmarkDotNet.Attributes;

namespace Vmm.Benchmarks;

/// <summary>One event of one eventfd, from the write to the end of its handler; with what it allocates.</summary>
[MemoryDiagnoser]
public class DispatchBenchmark
{
    private EngineContender? _contender;

    /// <summary>Subscribers, of which one has an event.</summary>
    [Params(1, 1_000)]
    public int Watched { get; set; }

    /// <summary>Eventfds of one subscriber; they fire in turn.</summary>
    [Params(1, 4)]
    public int FdsPerSubscriber { get; set; }

    /// <summary>The engine.</summary>
    [ParamsSource(nameof(EngineNames))]
    public string Engine { get; set; } = "";

    /// <summary>The values of <see cref="Engine"/>.</summary>
    public static IEnumerable<string> EngineNames => Engines.All.Select(engine => engine.Name);

    /// <summary>Watches.</summary>
    [GlobalSetup]
    public void SetUp()
    {
        Engines.Factory create = Engines.All.First(engine => engine.Name == Engine).Create;
        _contender = new EngineContender(create, Watched * FdsPerSubscriber, FdsPerSubscriber, new FiringPattern(Hot: FdsPerSubscriber));
    }

    /// <summary>Closes.</summary>
    [GlobalCleanup]
    public void CleanUp() => _contender?.Dispose();

    /// <summary>Fire, wait, dispatch.</summary>
    [Benchmark]
    public void OneEvent() => _contender!.Run(1);
}
