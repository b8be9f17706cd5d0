using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// Has a device look at something that another thread changed: on the device's reactor, and only while it has a driver. A device without
/// one looks when the next comes. What was changed is the device's, under a lock of its own.
/// </summary>
/// <param name="handler">Called on the device's reactor.</param>
internal sealed class DriverBell(Action handler)
{
    private volatile Doorbell? _bell;

    /// <summary>The driver has come.</summary>
    internal void Connect(DriverSession driver) => _bell = driver.Remote.CreateDoorbell(_ => handler());

    /// <summary>The driver is gone.</summary>
    internal void Disconnect() => _bell = null;

    /// <summary>Something changed. Any thread.</summary>
    internal void Ring() => _bell?.TryRing();
}
