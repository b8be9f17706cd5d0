using System.Diagnostics;

namespace Vmm.Devices;

/// <summary>
/// Spans of requests that took longer than a threshold, for listeners of the source <c>Vmm.Devices</c> (System.Diagnostics.ActivitySource).
/// A request that was quick enough costs a comparison, one that was not is made into a span only if a listener wants it.
/// </summary>
/// <param name="device">The device's name.</param>
/// <param name="queue">The queue's name.</param>
/// <param name="kinds">What kinds of requests are called.</param>
/// <param name="threshold">Requests that took less are not reported.</param>
internal sealed class SlowRequests(string device, string queue, IReadOnlyList<string> kinds, TimeSpan threshold)
{
    private static readonly ActivitySource Source = new("Vmm.Devices");

    /// <summary>The threshold in nanoseconds.</summary>
    internal long Nanoseconds { get; } = (long)threshold.TotalNanoseconds;

    /// <summary>Reports requests of one kind that were taken and given back together, just now.</summary>
    internal void Report(int kind, long nanoseconds, int requests, int inFlight)
    {
        if (!Source.HasListeners()) return;
        DateTimeOffset end = DateTimeOffset.UtcNow;
        string name = kind < kinds.Count ? kinds[kind] : kinds[0];
        // It has no parent: what runs on a reactor's thread belongs to no request of this process.
        using Activity? span = Source.StartActivity($"{device} {name}", ActivityKind.Internal, default(ActivityContext),
        [
            new("vmm.device", device), new("vmm.queue", queue), new("vmm.request.kind", name), new("vmm.requests", requests),
            new("vmm.in_flight", inFlight),
        ], links: null, startTime: end - TimeSpan.FromMicroseconds(nanoseconds / 1000.0));
        span?.SetEndTime(end.UtcDateTime);
    }
}
