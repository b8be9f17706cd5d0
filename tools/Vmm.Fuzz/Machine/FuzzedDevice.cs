using Vmm.Devices;
using Vmm.Devices.Simulation;

namespace Vmm.Fuzz;

/// <summary>
/// What <see cref="DeviceTarget"/> has to know of a kind of device: what a request looks like, what its host side does, and what "it works"
/// means. A new device is fuzzed by one of these and a line in <see cref="FuzzTargets"/>.
/// </summary>
internal abstract class FuzzedDevice
{
    /// <summary>Makes the device, with its host side. The target disposes it.</summary>
    internal abstract VirtioDevice Make();

    /// <summary>Requests that a device in good health answers, whatever it went through.</summary>
    internal abstract IReadOnlyList<BatteryRequest> Proofs { get; }

    /// <summary>Writes the readable part of a request: mostly what a driver could send, with fields of any value.</summary>
    /// <param name="input">What decides.</param>
    /// <param name="queue">Where it goes.</param>
    /// <param name="request">Where to write it; <see cref="DeviceTarget.RequestBytesMax"/> bytes.</param>
    /// <returns>Its length.</returns>
    internal abstract int WriteRequest(FuzzInput input, int queue, Span<byte> request);

    /// <summary>Something happens on the host: input, a completion, a peer hangs up.</summary>
    internal virtual void HostActs(FuzzInput input)
    {
    }

    /// <summary>The host completes what it has begun, and takes no part any more.</summary>
    internal virtual void HostFinishes()
    {
    }

    /// <summary>The host side is closed.</summary>
    internal virtual void HostEnds()
    {
    }
}
