using Microsoft.Extensions.Logging;
using Vmm.Devices;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>A machine whose vCPUs run in this process.</summary>
internal sealed class HostedMachine(string kind, Machine machine, ILogger log, Action stop) : ControlledMachine(kind, stop)
{
    private const string FixedDevices =
        "the guest of this machine looks for its devices when it boots: give them on the command line, or serve them with 'vmm serve'";

    internal override IReadOnlyList<ControlledDevice> Devices =>
        [.. machine.Host.Devices.Select(hosted => new ControlledDevice(hosted.Device, hosted.Reactor, hosted, null))];

    internal override IReadOnlyList<RemoteEndpoint> Reactors => machine.Host.Reactors;

    private protected override bool IsPaused => machine.IsPaused;

    internal override void Pause()
    {
        machine.Pause();
        log.LogInformation(ToolEvents.MachinePaused, "the machine stands still");
    }

    internal override void Resume()
    {
        machine.Resume();
        log.LogInformation(ToolEvents.MachineResumed, "the machine goes on");
    }

    internal override ControlledDevice Add(NewDevice asked) => throw new NotSupportedException(FixedDevices);

    internal override Task RemoveAsync(ControlledDevice device) => throw new NotSupportedException(FixedDevices);
}
