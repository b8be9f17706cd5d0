namespace Vmm.Devices;

/// <summary>
/// The interrupt line with its reasons. Reactor threads raise, vCPU threads look and acknowledge: a lock of its own keeps line and reasons
/// together.
/// </summary>
internal sealed class MmioInterrupt(IInterrupt line)
{
    internal const uint UsedBuffers = 1;
    internal const uint ConfigChange = 2;

    private readonly Lock _lock = new();
    private uint _reasons;

    /// <summary>What the driver has not acknowledged.</summary>
    internal uint Reasons => Volatile.Read(ref _reasons);

    internal void Raise(uint reason)
    {
        lock (_lock)
        {
            _reasons |= reason;
            line.Assert();
        }
    }

    internal void Acknowledge(uint reasons)
    {
        lock (_lock)
        {
            _reasons &= ~reasons;
            if (_reasons == 0) line.Deassert();
        }
    }

    internal void Clear() => Acknowledge(uint.MaxValue);

    internal void Save(StateWriter to) => to.Add("interrupts", (ulong)Reasons);

    internal void Restore(StateReader from)
    {
        uint reasons = (uint)from.UInt64("interrupts", UsedBuffers | ConfigChange);
        // Where lines have edges, one that was pending when the machine was saved may have been lost. One too many does no harm.
        if (reasons != 0) Raise(reasons);
    }
}
