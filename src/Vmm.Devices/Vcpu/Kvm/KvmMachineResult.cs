namespace Vmm.Devices.Kvm;

/// <summary>Why a KVM machine ended.</summary>
public enum KvmMachineEnd
{
    /// <summary>The guest powered it off.</summary>
    PoweredOff,
    /// <summary>The guest reset it: a reboot, or a panic that it had no driver to tell of. The machine does not start again.</summary>
    Reset,
    /// <summary>The guest's kernel panicked and told so (pvpanic).</summary>
    Panicked,
    /// <summary>A processor shut down after three faults in a row: the guest's kernel is broken or got no further.</summary>
    TripleFault,
    /// <summary>The host stopped it.</summary>
    Stopped,
    /// <summary>A vCPU could not go on.</summary>
    Failed,
}

/// <summary>How a KVM machine ended.</summary>
/// <param name="End">Why.</param>
/// <param name="Message">A sentence about it.</param>
public sealed record KvmMachineResult(KvmMachineEnd End, string Message);
