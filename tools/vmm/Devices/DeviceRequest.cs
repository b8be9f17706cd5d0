using Vmm.Devices;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>A device that was asked for. Nothing is opened before every option was understood.</summary>
/// <param name="Open">Opens the device. Once.</param>
/// <param name="Lead">
/// Leads the opened device to its people on the host, when the reactor that serves it runs; what it returns is let go before that reactor ends. Null
/// for a device that needs no such thing.
/// </param>
/// <param name="LeadTerminal">Leads it to the process's own terminal: takes the keys for it over. Null if it has no use for it.</param>
internal sealed record DeviceRequest(
    Func<VirtioDevice> Open, Func<RemoteEndpoint, IDisposable>? Lead = null, Func<OwnedFd, IDisposable>? LeadTerminal = null);
