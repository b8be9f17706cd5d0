using Vmm.Devices;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>A device that was asked for. Nothing is opened before every option was understood.</summary>
/// <param name="Open">Opens the device. Once.</param>
/// <param name="Lead">
/// Leads the opened device to its people on the host, when the reactor that serves it runs; what it returns is let go before that reactor ends. Null
/// for a device that needs no such thing.
/// </param>
internal sealed record DeviceRequest(Func<VirtioDevice> Open, Func<RemoteEndpoint, IDisposable>? Lead = null);
