namespace Vmm.Benchmarks;

/// <summary>Events of eventfds to handlers, under one pattern of firing.</summary>
internal abstract class DispatchComparison(FiringPattern pattern, int fdsPerSubscriber) : Comparison
{
    internal override string Suite => "dispatch";

    internal override IReadOnlyList<Variant> Variants { get; } =
    [
        new("c-epoll", n => new BaselineContender(n * fdsPerSubscriber, pattern)),
        new("socket", n => new SocketContender(n * fdsPerSubscriber, pattern)),
        .. Engines.All.Select(engine =>
            new Variant(engine.Name, n => new EngineContender(engine.Create, n * fdsPerSubscriber, fdsPerSubscriber, pattern))),
    ];

    internal override int DescriptorsFor(int n) => n * fdsPerSubscriber;
}

/// <summary>One eventfd of n fires.</summary>
internal sealed class OneReady() : DispatchComparison(new FiringPattern(Hot: 1), fdsPerSubscriber: 1)
{
    internal override string Group => "one-ready";

    internal override string Description => "one eventfd of n fires: fire + wait + dispatch (+ read, where the variant drains)";

    // 19,900 is what the usual limit of 20,000 descriptors holds; a larger size needs a larger limit (ulimit -n).
    internal override IReadOnlyList<int> Sizes => [1, 10, 100, 1_000, 10_000, 19_900, 100_000];
}

/// <summary>The four eventfds of one subscriber of n fire in turn.</summary>
internal sealed class FourDescriptors() : DispatchComparison(new FiringPattern(Hot: FdsPerSubscriber), FdsPerSubscriber)
{
    private const int FdsPerSubscriber = 4;

    internal override string Group => "four-fds";

    internal override string Description => "n subscribers with four eventfds each; those of one fire in turn, one before each wait";

    internal override IReadOnlyList<int> Sizes => [100, 1_000, 4_900];
}

/// <summary>All eventfds fire before the wait.</summary>
internal sealed class AllReady() : DispatchComparison(FiringPattern.AllAtOnce, fdsPerSubscriber: 1)
{
    internal override string Group => "all-ready";

    internal override string Description => "all n eventfds fire, then all are handled";

    internal override IReadOnlyList<int> Sizes => [16, 64, 256, 1_024];

    // A slice is to hold several passes of the largest size.
    internal override int SliceFactor => 4;
}
