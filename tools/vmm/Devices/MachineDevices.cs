using Vmm.Devices;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>The devices of a machine, opened, and what leads them to the host.</summary>
internal sealed class MachineDevices : IDisposable
{
    private readonly List<DeviceRequest> _requests = [];
    private readonly List<VirtioDevice> _opened = [];

    private MachineDevices()
    {
    }

    /// <summary>In the order they were asked for. Whoever runs the machine may dispose them earlier than this.</summary>
    internal IReadOnlyList<VirtioDevice> Devices => _opened;

    /// <summary>Whether the process's terminal belongs to one of them.</summary>
    internal bool HaveTerminal => _requests.Any(request => request.LeadTerminal is not null);

    /// <summary>Opens every device, or none.</summary>
    /// <exception cref="IOException">Something could not be opened; the message says what and why.</exception>
    internal static MachineDevices Open(IEnumerable<DeviceRequest> requests)
    {
        MachineDevices devices = new();
        try
        {
            foreach (DeviceRequest request in requests)
            {
                devices._opened.Add(request.Open());
                devices._requests.Add(request);
            }
            return devices;
        }
        catch
        {
            devices.Dispose();
            throw;
        }
    }

    /// <summary>Leads every device that needs it to its people on the host.</summary>
    /// <param name="reactor">The reactor that serves the devices; it runs.</param>
    /// <returns>Dispose it before that reactor is disposed.</returns>
    internal IDisposable Lead(RemoteEndpoint reactor)
    {
        DisposableStack ways = new();
        foreach (DeviceRequest request in _requests) ways.Add(() => request.Lead?.Invoke(reactor));
        return ways;
    }

    /// <summary>Leads the process's terminal to the device that wants it.</summary>
    /// <param name="keys">What is typed; taken over.</param>
    /// <returns>Dispose it when the machine has ended.</returns>
    internal IDisposable LeadTerminal(OwnedFd keys) => _requests.Single(request => request.LeadTerminal is not null).LeadTerminal!(keys);

    public void Dispose()
    {
        foreach (VirtioDevice device in _opened) device.Dispose();
    }
}
