namespace Vmm.Devices;

/// <summary>Why a vCPU's thread ended.</summary>
public enum VcpuEndReason
{
    /// <summary>It was asked to stop.</summary>
    Stopped,
    /// <summary>The guest halted for good.</summary>
    Halted,
    /// <summary>The guest shut down: triple fault, or a simulated program that came to its end.</summary>
    Shutdown,
    /// <summary>The guest asked for power-off or reset; <see cref="VcpuEnd.Code"/> is the kind of event.</summary>
    SystemEvent,
    /// <summary>
    /// The vCPU can't go on; <see cref="VcpuEnd.Code"/> is the reason's number, or <see cref="VcpuEnd.Failure"/> says it.
    /// </summary>
    Failed,
}

/// <summary>How a vCPU's thread ended.</summary>
/// <param name="Reason">Why.</param>
/// <param name="Code">A number that goes with the reason; else 0.</param>
/// <param name="Failure">What was thrown on the thread; null if nothing was.</param>
public readonly record struct VcpuEnd(VcpuEndReason Reason, ulong Code = 0, Exception? Failure = null);
