using System.Collections.Concurrent;
using System.Diagnostics;

namespace Vmm.Devices.Tests.VirtQueues;

/// <summary>Where the time of a slow request went: spans below its own, which add up to it.</summary>
public sealed class SlowRequestTests : IDisposable
{
    private static readonly string[] Kinds = ["read", "write"];

    private readonly ConcurrentQueue<Activity> _spans = [];
    private readonly ActivityListener _listener;
    private readonly string _device = $"blk{Guid.NewGuid():N}";

    public SlowRequestTests()
    {
        _listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == "Vmm.Devices",
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
            ActivityStopped = _spans.Enqueue,
        };
        ActivitySource.AddActivityListener(_listener);
    }

    public void Dispose() => _listener.Dispose();

    [Fact]
    public void A_span_has_a_part_for_the_limit_for_the_backend_and_for_what_came_after()
    {
        SlowRequests slow = new(_device, "requests0", Kinds, TimeSpan.FromMilliseconds(50));
        long popped = Stopwatch.GetTimestamp(), pushed = popped + Ticks(100), published = pushed + Ticks(20);
        slow.Held(popped, TimeSpan.FromMilliseconds(30));
        slow.Report(1, new SlowBatch(popped, pushed, published, Requests: 3, InFlight: 2));
        Activity whole = Whole();
        Assert.Equal($"{_device} write", whole.OperationName);
        Assert.Equal((3, 2), (whole.GetTagItem("vmm.requests"), whole.GetTagItem("vmm.in_flight")));
        Assert.Equal([("queue", 30), ("backend", 100), ("completion", 20)], Parts(whole));
        Assert.Equal(150, (int)Math.Round(whole.Duration.TotalMilliseconds));
    }

    [Fact]
    public void Requests_that_no_limit_held_and_those_given_back_beside_others_have_no_part_for_that()
    {
        SlowRequests slow = new(_device, "requests0", Kinds, TimeSpan.FromMilliseconds(50));
        long popped = Stopwatch.GetTimestamp();
        // Another one was given back before this one was taken, and both were published together.
        slow.Held(popped - 1, TimeSpan.FromMilliseconds(30));
        slow.Report(0, new SlowBatch(popped, popped - Ticks(10), popped + Ticks(60), Requests: 1, InFlight: 0));
        Activity whole = Whole();
        Assert.Equal([("completion", 60)], Parts(whole));
        Assert.Equal(60, (int)Math.Round(whole.Duration.TotalMilliseconds));
    }

    [Fact]
    public void A_batch_says_when_its_limit_held_it_and_when_its_first_request_was_done()
    {
        QueueStatistics statistics = new();
        BatchLatency latency = new(statistics, new SlowRequests(_device, "requests0", Kinds, TimeSpan.FromTicks(1)));
        latency.Held(TimeSpan.FromSeconds(2));
        long popped = latency.BatchStart;
        // Spans have no part that is shorter than their clock shows.
        SpinWait.SpinUntil(() => Stopwatch.GetElapsedTime(popped) > TimeSpan.FromMilliseconds(1));
        latency.Pushed(popped, kind: 0);
        latency.Published(inFlight: 0);
        Activity whole = Whole();
        (string Name, int Milliseconds)[] parts = [.. Parts(whole)];
        Assert.Equal(("queue", 2000), parts[0]);
        Assert.Contains("backend", parts.Select(part => part.Name));
        Assert.True(whole.Duration >= TimeSpan.FromSeconds(2));
    }

    private Activity Whole() => Assert.Single(_spans, span => span.OperationName.StartsWith(_device, StringComparison.Ordinal));

    private IEnumerable<(string Name, int Milliseconds)> Parts(Activity whole) => _spans.Where(span => span.ParentSpanId == whole.SpanId)
        .OrderBy(span => span.StartTimeUtc).Select(span => (span.OperationName, (int)Math.Round(span.Duration.TotalMilliseconds)));

    private static long Ticks(int milliseconds) => Stopwatch.Frequency * milliseconds / 1000;
}
