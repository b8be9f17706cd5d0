using Vmm.Devices;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>The devices that the command line gives a machine.</summary>
/// <param name="requested">The devices.</param>
/// <param name="setting">What the machine decides for them.</param>
/// <param name="scratch">Whether a machine without a disk gets one.</param>
internal sealed class MachineDevices(IReadOnlyList<RequestedDevice> requested, DeviceSetting setting, bool scratch)
{
    /// <summary>What the machine decides for them.</summary>
    internal DeviceSetting Setting => setting;

    /// <summary>Whether the process's terminal belongs to one of them.</summary>
    internal bool HaveTerminal => Terminal is not null;

    private RequestedDevice? Terminal =>
        requested.FirstOrDefault(device => device.Spec is ConsoleSpec console && console.Ports.Any(port => port.IsTerminal));

    /// <summary>Opens every device and puts it into a host.</summary>
    /// <exception cref="UsageException">A device does not fit what it is to work on.</exception>
    /// <exception cref="IOException">Something could not be opened; the message says what and why.</exception>
    internal void AddTo(DeviceHost host)
    {
        bool needsScratch = scratch && requested.All(device => device.Spec is not DiskSpec);
        if (needsScratch) host.Add(ScratchDisk.Open(setting));
        foreach (RequestedDevice device in requested)
        {
            try
            {
                host.Add(device.Name, device.Spec, setting);
            }
            catch (ArgumentException refused)
            {
                throw new UsageException($"{device.Option}: {refused.Message}");
            }
        }
        if (needsScratch) ScratchDisk.Announce();
    }

    /// <summary>Connects the process's terminal to the device that wants it.</summary>
    /// <param name="host">It has the devices.</param>
    /// <param name="keys">What is typed; taken over.</param>
    /// <returns>Dispose it when the machine has ended.</returns>
    internal IDisposable ConnectTerminal(DeviceHost host, OwnedFd keys)
    {
        RequestedDevice wanted = Terminal!;
        ConsoleDevice console = (ConsoleDevice)host.Devices.Single(hosted => hosted.Device.Name == wanted.Name).Device;
        int port = ((ConsoleSpec)wanted.Spec).Ports.ToList().FindIndex(each => each.IsTerminal);
        return new ConsoleScreen(console, console.Ports[port], keys);
    }
}
