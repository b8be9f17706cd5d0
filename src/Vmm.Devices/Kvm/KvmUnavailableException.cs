namespace Vmm.Devices.Kvm;

/// <summary>Why KVM can't be used.</summary>
internal enum KvmUnavailableReason
{
    /// <summary>There is no device file.</summary>
    Absent,
    /// <summary>The user may not open it.</summary>
    NotPermitted,
    /// <summary>It could not be opened for another reason.</summary>
    NotOpened,
    /// <summary>It is not KVM, or one with another version of the interface.</summary>
    WrongVersion,
    /// <summary>The kernel's KVM lacks something that is needed.</summary>
    MissingCapability,
}

/// <summary>KVM can't be used on this machine, or can't do what is asked. The message is one sentence: which, and what to do.</summary>
public sealed class KvmUnavailableException : IOException
{
    internal KvmUnavailableException(KvmUnavailableReason reason, string message) : base(message) => Reason = reason;

    /// <summary>Which of the reasons it is.</summary>
    internal KvmUnavailableReason Reason { get; }
}
