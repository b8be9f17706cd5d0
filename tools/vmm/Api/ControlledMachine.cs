using System.Diagnostics;
using Vmm.Devices;
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
internal abstract class ControlledMachine(string kind, Action stop)
{
    private readonly long _start = Stopwatch.GetTimestamp();
    private int _stops;

    /// <summary>The devices now, in the order in which they were added.</summary>
    internal abstract IReadOnlyList<ControlledDevice> Devices { get; }

    /// <summary>The reactors that serve them.</summary>
    internal abstract IReadOnlyList<RemoteEndpoint> Reactors { get; }

    /// <summary>Whether the machine stands still.</summary>
    private protected virtual bool IsPaused => false;

    /// <summary>How far a save is; null if none is under way.</summary>
    private protected virtual SnapshotProgressView? Saving => null;

    /// <summary>How a process is started that goes on from a snapshot; null if there can be none.</summary>
    internal RestoreView? Restore { get; init; }

    /// <summary>What runs, and how it is.</summary>
    internal MachineView View => new()
    {
        Kind = kind,
        Version = ToolVersion.Text,
        Process = Environment.ProcessId,
        State = Volatile.Read(ref _stops) > 0 ? "stopping" : IsPaused ? "paused" : "running",
        UptimeSeconds = (long)Stopwatch.GetElapsedTime(_start).TotalSeconds,
        Devices = Devices.Count,
        Saving = Saving,
        Restore = Restore,
    };

    /// <summary>The device of a name.</summary>
    /// <exception cref="ApiProblem">There is none.</exception>
    internal ControlledDevice Find(string name) => Devices.FirstOrDefault(device => device.Device.Name == name)
        ?? throw new ApiProblem(404, $"there is no device '{name}': GET /v1/devices lists those there are");

    /// <summary>Has vCPUs and devices stand still. It may wait.</summary>
    internal abstract void Pause();

    /// <summary>Lets them go on.</summary>
    internal abstract void Resume();

    /// <summary>Saves the machine.</summary>
    /// <param name="asked">Where, and how.</param>
    /// <param name="cancel">Gives it up.</param>
    internal virtual Task<SnapshotView> SaveAsync(NewSnapshot asked, CancellationToken cancel) =>
        throw new NotSupportedException("only a machine of 'vmm boot' can be saved");

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
