using System.Diagnostics;
using Vmm.Devices;
using Vmm.Devices.Sandbox;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>A device that the API shows and changes.</summary>
/// <param name="Device">The device.</param>
/// <param name="Reactor">The reactor that owns it.</param>
/// <param name="Inspected">What describes it in whole, on that reactor.</param>
/// <param name="Backend">What serves it over vhost-user; null if it is part of a machine of this process.</param>
internal sealed record ControlledDevice(VirtioDevice Device, RemoteEndpoint Reactor, IInspectable Inspected, VhostUserBackend? Backend);

/// <summary>What <c>--api</c> controls: the devices of <c>vmm serve</c>, or the machine of <c>run</c> and <c>boot</c>.</summary>
/// <remarks>Thread-safe.</remarks>
/// <param name="kind">What was started.</param>
/// <param name="stop">Asks the process to end.</param>
/// <param name="sandbox">What the process keeps of its rights; null for all.</param>
internal abstract class ControlledMachine(string kind, Action stop, SandboxPlan? sandbox)
{
    private readonly long _start = Stopwatch.GetTimestamp();
    private int _stops;

    /// <summary>The devices now, in the order in which they were added.</summary>
    internal abstract IReadOnlyList<ControlledDevice> Devices { get; }

    /// <summary>The reactors that serve them.</summary>
    internal abstract IReadOnlyList<RemoteEndpoint> Reactors { get; }

    /// <summary>Whether it takes no more front-ends.</summary>
    private protected virtual bool IsDraining => false;
    /// <summary>The consoles of its guest.</summary>
    internal virtual IReadOnlyList<ControlledConsole> Consoles => [];

    /// <summary>Whether the machine stands still.</summary>
    private protected virtual bool IsPaused => false;

    /// <summary>How far a save is; null if none is running.</summary>
    private protected virtual SnapshotProgressView? Saving => null;

    /// <summary>How often it started again; null if it never does.</summary>
    private protected virtual long? Resets => null;
    /// <summary>Where the API listens over a network, as <c>https://ADDRESS:PORT</c>; null for nowhere.</summary>
    internal string? Address { get; set; }

    /// <summary>How a process is started that goes on from a snapshot; null if there can be none.</summary>
    private protected virtual RestoreView? Restore => null;

    /// <summary>What runs, and how it is.</summary>
    internal MachineView View => new()
    {
        Kind = kind,
        Version = ToolVersion.Text,
        Process = Environment.ProcessId,
        State = Volatile.Read(ref _stops) > 0 ? "stopping" : IsDraining ? "draining" : IsPaused ? "paused" : "running",
        UptimeSeconds = (long)Stopwatch.GetElapsedTime(_start).TotalSeconds,
        Devices = Devices.Count,
        Resets = Resets,
        Saving = Saving,
        Address = Address,
        Restore = Restore,
    };

    /// <summary>The device of a name.</summary>
    /// <exception cref="ApiProblem">There is none.</exception>
    internal ControlledDevice Find(string name) => Devices.FirstOrDefault(device => device.Device.Name == name)
        ?? throw new ApiProblem(404, $"there is no device '{name}': GET /v1/devices lists those there are");

    /// <summary>The console of a name.</summary>
    /// <exception cref="ApiProblem">There is none.</exception>
    internal ControlledConsole FindConsole(string name) => Consoles.FirstOrDefault(console => console.Name == name)
        ?? throw new ApiProblem(404, $"there is no console '{name}': GET /v1/consoles lists those there are");

    /// <summary>Has vCPUs and devices stand still. It may wait.</summary>
    internal abstract void Pause();

    /// <summary>Lets them go on.</summary>
    internal abstract void Resume();

    /// <summary>Presses the machine's power button.</summary>
    internal virtual void PowerOff() => throw new NotSupportedException(
        "only a machine of 'vmm boot' has a power button: shut the guest down from inside, or stop this process");

    /// <summary>Starts the machine again from its kernel. It may wait.</summary>
    internal virtual void Reset() => throw new NotSupportedException("only a machine of 'vmm boot' can be reset");

    /// <summary>Saves the machine.</summary>
    /// <param name="asked">Where, and how.</param>
    /// <param name="cancel">Gives it up.</param>
    internal virtual Task<SnapshotView> SaveAsync(NewSnapshot asked, CancellationToken cancel) =>
        throw new NotSupportedException("only a machine of 'vmm boot' can be saved");

    /// <summary>Takes no more front-ends, and completes when the last has left.</summary>
    internal virtual Task DrainAsync() => throw new NotSupportedException(
        "only 'vmm serve' has front-ends to wait for: switch a machine off by its power button, or stop it");

    /// <summary>The kind of a device that is to be added.</summary>
    /// <exception cref="ArgumentException">There is no such kind.</exception>
    internal static DeviceKind KindOf(NewDevice asked) =>
        DeviceKinds.All.FirstOrDefault(kind => kind.Name == asked.Kind || kind.ServedName == asked.Kind)
            ?? throw new ArgumentException($"'{asked.Kind}' is no kind of device: give one of "
                + string.Join(", ", DeviceKinds.All.Select(kind => kind.ServedName ?? kind.Name)));

    /// <summary>What a request named is not there, is in use, or is not for this process to open.</summary>
    private protected ArgumentException Refusal(Exception refused) => new(refused.Message + (IsOfSandbox(refused)
        ? " (in its sandbox this process opens less than at its start: with --sandbox=off it opens anything)" : ""), refused);

    /// <summary>Whether an error is one by which the sandbox refuses.</summary>
    private bool IsOfSandbox(Exception refused)
    {
        if (sandbox is null) return false;
        if (refused is UnauthorizedAccessException) return true;
        // A broker sees all that a request names.
        bool hides = sandbox.Layers.HasFlag(SandboxLayers.Namespaces) && !HostBroker.IsThere;
        return (Errno)refused.HResult is Errno.AccessDenied or Errno.NotPermitted
            || hides && (refused is FileNotFoundException or DirectoryNotFoundException
                || (Errno)refused.HResult is Errno.NoEntry or Errno.ReadOnlyFileSystem);
    }

    /// <summary>Understands a device under the first name that no other one has.</summary>
    /// <exception cref="ArgumentException">It makes no sense; the message says why.</exception>
    private protected RequestedDevice Describe(
        string options, Func<int, string> nameOf, Func<string, int, Action<string>, RequestedDevice?> understand)
    {
        List<string> refusals = [];
        HashSet<string> taken = [.. Devices.Select(each => each.Device.Name)];
        int number = 0;
        while (taken.Contains(nameOf(number))) number++;
        RequestedDevice? device = understand(options, number, refusals.Add);
        return device is not null && refusals.Count == 0 ? device : throw new ArgumentException(string.Join("; ", refusals));
    }

    /// <summary>Asks the process to end, as SIGTERM does.</summary>
    internal void Stop()
    {
        // Once: a second signal would end the process without waiting for what is in flight.
        if (Interlocked.Increment(ref _stops) == 1) stop();
    }

    /// <summary>Serves one more device. It may wait.</summary>
    internal abstract ControlledDevice Add(NewDevice asked);

    /// <summary>Takes a device out.</summary>
    /// <returns>Completes when nothing of it is left.</returns>
    internal abstract Task RemoveAsync(ControlledDevice device);
}
