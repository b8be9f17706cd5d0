namespace Vmm.Devices.Sandbox;

/// <summary>What a process keeps when it gives up its rights.</summary>
public sealed record SandboxPlan
{
    /// <summary>What the process and its devices open on the host.</summary>
    public required IReadOnlyList<HostAccess> Accesses { get; init; }

    /// <summary>What is open already when <see cref="ProcessSandbox.Close(SandboxPlan)"/> is called, such as sockets that listen.</summary>
    public IReadOnlyList<HostAccess> Opened { get; init; } = [];

    /// <summary>Which layers are put on the process.</summary>
    public SandboxLayers Layers { get; init; } = SandboxLayers.All;

    /// <summary>The user that it becomes: <c>UID</c>, <c>UID:GID</c>, <c>NAME</c> or <c>NAME:GID</c>; null to keep its user.</summary>
    public string? User { get; init; }

    /// <summary>Whether a crash may leave a core file.</summary>
    public bool KeepsCore { get; init; }

    /// <summary>Whether it runs a virtual machine on KVM.</summary>
    public bool NeedsKvm { get; init; }

    /// <summary>Whether it saves machines, for which it makes and renames directories.</summary>
    public bool SavesMachines { get; init; }

    /// <summary>Whether devices may be added while it runs.</summary>
    public bool DevicesComeLater { get; init; }

    /// <summary>The process's ends of what it shares with a broker, which opens what comes later; null without one.</summary>
    internal BrokerChannels? Broker { get; init; }

    /// <summary>Whether a broker opens what comes later: this process makes no endpoint and no directory itself.</summary>
    internal bool HasBroker => Broker is not null || BrokerLink.Current is not null;

    /// <summary>Whether it sends to a socket in the abstract namespace, such as a service manager's.</summary>
    public bool NeedsAbstractSockets { get; init; }

    /// <summary>Whether it gives a socket to a group before <see cref="ProcessSandbox.Close(SandboxPlan)"/>.</summary>
    public bool GivesGroups { get; init; }

    /// <summary>Descriptors that this process was started with and keeps, beside those of a service manager.</summary>
    public IReadOnlyList<int> Descriptors { get; init; } = [];

    /// <summary>What the kernel does with a system call that the process never needs.</summary>
    public SystemCallAction Action { get; init; } = SystemCallAction.Refuse;

    /// <summary>What it opens, at its start or later.</summary>
    internal IEnumerable<HostAccess> All => Accesses.Concat(Opened);

    /// <summary>Whether it opens something of a kind, at its start or later.</summary>
    internal bool Has(HostAccessKind kind, Func<HostAccess, bool>? which = null) =>
        All.Any(access => access.Kind == kind && (which is null || which(access)));

    /// <summary>Whether it opens something of some kinds later.</summary>
    internal bool WillOpen(params ReadOnlySpan<HostAccessKind> kinds)
    {
        foreach (HostAccess access in Accesses) if (kinds.Contains(access.Kind)) return true;
        return false;
    }
}

/// <summary>The layers of a sandbox, each of which stops something that the others do not.</summary>
[Flags]
public enum SandboxLayers
{
    /// <summary>User, capabilities, limits.</summary>
    Privileges = 1,
    /// <summary>Landlock: files, TCP ports, signals to other processes.</summary>
    Files = 2,
    /// <summary>seccomp: system calls and their arguments.</summary>
    SystemCalls = 4,
    /// <summary>A file system, a network and objects of communication of its own, where root starts it.</summary>
    Namespaces = 8,
    /// <summary>All of them.</summary>
    All = Privileges | Files | SystemCalls | Namespaces,
}

/// <summary>What the kernel does with a system call that no code of ours makes.</summary>
public enum SystemCallAction
{
    /// <summary>The call fails with EPERM; a call that can only be an attack ends the process. The kernel logs both.</summary>
    Refuse,
    /// <summary>It ends the process.</summary>
    Kill,
    /// <summary>The kernel logs it and carries it out, to learn what a program does.</summary>
    Log,
}
