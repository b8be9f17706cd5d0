namespace Vmm.Devices.Simulation;

/// <summary>Why a machine ended.</summary>
public enum MachineEnd
{
    /// <summary>The guest powered it off.</summary>
    PoweredOff,
    /// <summary>The host stopped it.</summary>
    Stopped,
    /// <summary>A vCPU could not go on.</summary>
    Failed,
}

/// <summary>How a machine ended.</summary>
/// <param name="End">Why.</param>
/// <param name="Status">What the guest said of itself when it powered off: 0 if every command succeeded.</param>
/// <param name="Failure">What failed the vCPU; null if nothing did.</param>
public sealed record MachineResult(MachineEnd End, uint Status = 0, Exception? Failure = null)
{
    /// <summary>Whether the guest powered off and had nothing to complain about.</summary>
    public bool Succeeded => End == MachineEnd.PoweredOff && Status == 0;
}
