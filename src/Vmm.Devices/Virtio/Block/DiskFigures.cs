namespace Vmm.Devices;

/// <summary>What a disk did of one kind of operation.</summary>
/// <param name="Kind"><c>read</c>, <c>write</c>, <c>flush</c>, <c>discard</c> or <c>write-zeroes</c>.</param>
/// <param name="Measured">Operations whose latency was measured: all of them, or none.</param>
/// <param name="Errors">Operations that the storage failed.</param>
/// <param name="LatencyP50Us">Microseconds that half of them took at most, from taking a request to giving it back; 0 if not
/// measured.</param>
/// <param name="LatencyP99Us">The same, that 99 of 100 took at most.</param>
/// <param name="LatencyMaxUs">Microseconds that the slowest took.</param>
public sealed record DiskFigures(
    string Kind, long Measured, long Errors, double LatencyP50Us, double LatencyP99Us, double LatencyMaxUs);
