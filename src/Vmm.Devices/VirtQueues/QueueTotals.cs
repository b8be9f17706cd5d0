namespace Vmm.Devices;

/// <summary>What several queues did so far, together.</summary>
/// <param name="Kicks">Kicks that arrived.</param>
/// <param name="Requests">Chains given back.</param>
/// <param name="Bytes">Bytes read from and written to the buffers of those chains.</param>
/// <param name="Interrupts">Interrupts asked for.</param>
/// <param name="Throttled">How long queues waited because of a <see cref="RateLimit"/>.</param>
internal readonly record struct QueueTotals(long Kicks, long Requests, long Bytes, long Interrupts, TimeSpan Throttled)
{
    internal QueueTotals With(QueueStatistics queue) => new(Kicks + queue.Kicks, Requests + queue.Requests, Bytes + queue.Bytes,
        Interrupts + queue.Interrupts, Throttled + queue.Throttled);
}
