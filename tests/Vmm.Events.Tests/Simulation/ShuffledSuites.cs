using Vmm.Events.Tests.Model;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

// The suites that hold for any order of a batch, under a shuffled one. What a delay or a doubled event does to exact counts is not their
// subject.

/// <summary>A seed for a suite, printed beside its tests. VMM_SEED replays.</summary>
internal static class Shuffled
{
    internal static ReactorOptions From(ReactorOptions options)
    {
        int seed = TestSeed.Take();
        return options with { Simulation = new EventSimulation(seed) };
    }
}

public sealed class HandlerRulesShuffledTests : HandlerRulesTests
{
    protected override ReactorOptions Options => Shuffled.From(base.Options);
}

public sealed class HandlerFailureShuffledTests : HandlerFailureTests
{
    protected override ReactorOptions Options => Shuffled.From(base.Options);
}

public sealed class InterestShuffledTests : InterestTests
{
    protected override ReactorOptions Options => Shuffled.From(base.Options);
}

public sealed class SubscriberShuffledTests : SubscriberTests
{
    protected override ReactorOptions Options => Shuffled.From(base.Options);
}

public sealed class DoorbellShuffledTests : DoorbellTests
{
    protected override ReactorOptions Options => Shuffled.From(base.Options);
}

public sealed class ReactorModelShuffledTests(ITestOutputHelper output) : ReactorModelTests(output)
{
    // One seed for all its sequences.
    private readonly Lazy<ReactorOptions> _options = new(() => Shuffled.From(new ReactorOptions { Name = "test" }));

    protected override ReactorOptions Options => _options.Value;
}
