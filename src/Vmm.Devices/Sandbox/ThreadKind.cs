namespace Vmm.Devices.Sandbox;

/// <summary>What a thread does that bytes of a guest reach. Each kind has a filter of system calls of its own.</summary>
internal enum ThreadKind
{
    /// <summary>It serves devices and front-ends.</summary>
    Reactor,
    /// <summary>It runs a guest's processor, and serves what the guest does with registers.</summary>
    Vcpu,
}
