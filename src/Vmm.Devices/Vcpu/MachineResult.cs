namespace Vmm.Devices;

/// <summary>Why a machine ended.</summary>
public enum MachineEnd
{
    /// <summary>The guest powered it off.</summary>
    PoweredOff,
    /// <summary>The guest reset it, and it does not start again: a reboot, or a panic of a kernel without a driver to report it.</summary>
    Reset,
    /// <summary>The guest's kernel panicked and reported it (pvpanic).</summary>
    Panicked,
    /// <summary>A processor shut down after three faults in a row: the guest's kernel is broken or got no further.</summary>
    TripleFault,
    /// <summary>The host stopped it.</summary>
    Stopped,
    /// <summary>A vCPU could not go on.</summary>
    Failed,
    /// <summary>It was saved, and goes on where its snapshot is restored.</summary>
    Saved,
}

/// <summary>How a machine ended.</summary>
/// <param name="End">Why.</param>
/// <param name="Message">A sentence about it.</param>
/// <param name="Status">What the guest reported when it powered off: 0 if all went well, or if it can't say.</param>
public sealed record MachineResult(MachineEnd End, string Message, uint Status = 0)
{
    /// <summary>Whether the guest powered off and reported no failure, or was saved.</summary>
    public bool Succeeded => End is MachineEnd.PoweredOff or MachineEnd.Saved && Status == 0;
}
