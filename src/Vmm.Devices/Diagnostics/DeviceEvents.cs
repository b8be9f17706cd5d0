using Microsoft.Extensions.Logging;

namespace Vmm.Devices;

/// <summary>What happens to devices, by the names that their log entries carry, for programs that read a log.</summary>
public static class DeviceEvents
{
    /// <summary>A front-end connected to a device that is served over vhost-user.</summary>
    public static EventId FrontEndConnected { get; } = new(1, "front-end-connected");

    /// <summary>It is gone, or was sent away for what it did.</summary>
    public static EventId FrontEndLeft { get; } = new(2, "front-end-left");

    /// <summary>A driver uses the device from now on: the guest started, or started again.</summary>
    public static EventId DriverStarted { get; } = new(3, "driver-started");

    /// <summary>A disk grew or shrank.</summary>
    public static EventId CapacityChanged { get; } = new(4, "capacity-changed");

    /// <summary>A driver did something forbidden, for the first time of its kind.</summary>
    public static EventId GuestFault { get; } = new(5, "guest-fault");

    /// <summary>The host failed a device, for the first time with this error.</summary>
    public static EventId HostFault { get; } = new(6, "host-fault");

    /// <summary>Storage behind a disk went away, or is back.</summary>
    public static EventId StorageNoticed { get; } = new(7, "storage");

    /// <summary>A machine was reset, by its guest or from outside, and starts again.</summary>
    public static EventId MachineReset { get; } = new(8, "machine-reset");

    /// <summary>A disk has another medium.</summary>
    public static EventId MediumChanged { get; } = new(9, "medium-changed");

    /// <summary>Guest memory is not pinned for a disk that asks for it; the disk works without.</summary>
    public static EventId NotPinned { get; } = new(10, "not-pinned");
}
