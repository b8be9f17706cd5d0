using Microsoft.Extensions.Logging;

namespace Vmm.Tool;

/// <summary>What happens to the machine and its list of devices, beside <see cref="Vmm.Devices.DeviceEvents"/>.</summary>
internal static class ToolEvents
{
    internal static readonly EventId DeviceAdded = new(101, "device-added");
    internal static readonly EventId DeviceRemoved = new(102, "device-removed");
    internal static readonly EventId MachinePaused = new(103, "machine-paused");
    internal static readonly EventId MachineResumed = new(104, "machine-resumed");
    internal static readonly EventId MachineSaved = new(106, "machine-saved");
    internal static readonly EventId PowerButton = new(107, "power-button");
    internal static readonly EventId Draining = new(108, "draining");
    internal static readonly EventId MachineEnded = new(105, "machine-ended");
}
