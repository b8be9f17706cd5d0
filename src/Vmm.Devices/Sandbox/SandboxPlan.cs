namespace Vmm.Devices.Sandbox;

/// <summary>What a process keeps when it gives up its rights.</summary>
public sealed record SandboxPlan
{
    /// <summary>What its devices and it itself open of the host.</summary>
    public required IReadOnlyList<HostAccess> Accesses { get; init; }

    /// <summary>Who it becomes: <c>UID</c>, <c>UID:GID</c>, <c>NAME</c> or <c>NAME:GID</c>; null to stay who it is.</summary>
    public string? User { get; init; }

    /// <summary>Whether a crash may leave a core file.</summary>
    public bool KeepsCore { get; init; }

    /// <summary>Whether it runs a virtual machine on KVM.</summary>
    public bool NeedsKvm { get; init; }

    /// <summary>Whether it sends to a socket in the abstract namespace, such as a service manager's.</summary>
    public bool NeedsAbstractSockets { get; init; }

    /// <summary>What is done with a system call that it has no use for.</summary>
    public SystemCallAction Action { get; init; } = SystemCallAction.Refuse;

    internal bool Has(HostAccessKind kind, Func<HostAccess, bool>? which = null) =>
        Accesses.Any(access => access.Kind == kind && (which is null || which(access)));
}

/// <summary>What becomes of a system call that no code of ours makes.</summary>
public enum SystemCallAction
{
    /// <summary>It fails with EPERM; one that can only be an attack ends the process. The kernel's log has both.</summary>
    Refuse,
    /// <summary>It ends the process.</summary>
    Kill,
    /// <summary>The kernel logs it and carries it out, to learn what a program does.</summary>
    Log,
}
