using Vmm.Events;

namespace Vmm.Devices;

/// <summary>What a device gets when its driver is ready (virtio 1.2 § 3.1.1, DRIVER_OK). It is in force until the driver is gone.</summary>
/// <param name="Features">The negotiated feature bits, transport and ring bits included.</param>
/// <param name="Memory">The guest's memory.</param>
/// <param name="Interrupt">How the device notifies its driver.</param>
/// <param name="Reactor">The device's own reactor, for descriptors of its own, which go when the driver goes, at the latest. Valid on its
/// thread.</param>
/// <param name="Remote">How other threads reach that reactor.</param>
public sealed record DriverSession(ulong Features, GuestMemory Memory, IVirtioInterrupt Interrupt, IReactor Reactor, RemoteEndpoint Remote)
{
    /// <summary>Whether any of some feature bits was negotiated.</summary>
    public bool Has(ulong features) => (Features & features) != 0;
}
