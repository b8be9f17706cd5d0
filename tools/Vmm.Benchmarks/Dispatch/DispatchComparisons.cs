namespace Vmm.Benchmarks;

/// <summary>Events of eventfds to handlers, under one pattern of firing.</summary>
internal static class DispatchComparisons
{
    private const int FdsOfSubscriber = 4;

    /// <summary>One eventfd of n fires.</summary>
    // 19,900 is what the usual limit of 20,000 descriptors holds; a larger size needs a larger limit (ulimit -n).
    internal static Comparison OneReady { get; } = Of("one-ready",
        "one eventfd of n fires: fire + wait + dispatch (+ read, where the variant drains)",
        [1, 10, 100, 1_000, 10_000, 19_900, 100_000], new FiringPattern(Hot: 1));

    /// <summary>The four eventfds of one subscriber of n fire in turn.</summary>
    internal static Comparison FourDescriptors { get; } = Of("four-fds",
        "n subscribers with four eventfds each; those of one fire in turn, one before each wait",
        [100, 1_000, 4_900], new FiringPattern(Hot: FdsOfSubscriber), FdsOfSubscriber);

    /// <summary>All eventfds fire before the wait. A slice is to hold several passes of the largest size.</summary>
    internal static Comparison AllReady { get; } = Of("all-ready", "all n eventfds fire, then all are handled",
        [16, 64, 256, 1_024], FiringPattern.AllAtOnce) with
    { SliceFactor = 4 };

    private static Comparison Of(string group, string description, int[] sizes, FiringPattern pattern, int fdsPerSubscriber = 1) =>
        new("dispatch", group, description, sizes,
        [
            new("c-epoll", n => new BaselineContender(n * fdsPerSubscriber, pattern)),
            new("socket", n => new SocketContender(n * fdsPerSubscriber, pattern)),
            .. Engines.All.Select(engine =>
                new Variant(engine.Name, n => new EngineContender(engine.Create, n * fdsPerSubscriber, fdsPerSubscriber, pattern))),
        ])
        { DescriptorsFor = n => n * fdsPerSubscriber };
}
