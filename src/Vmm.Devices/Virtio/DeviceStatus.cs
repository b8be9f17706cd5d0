namespace Vmm.Devices;

/// <summary>How far driver and device have come with each other (virtio 1.2 § 2.1).</summary>
[Flags]
internal enum DeviceStatus : byte
{
    /// <summary>Reset: nothing happened yet.</summary>
    None = 0,
    /// <summary>The guest found the device (ACKNOWLEDGE).</summary>
    Acknowledge = 1,
    /// <summary>The guest has a driver for it (DRIVER).</summary>
    Driver = 2,
    /// <summary>The driver is ready: the device is live (DRIVER_OK).</summary>
    DriverOk = 4,
    /// <summary>Features are settled (FEATURES_OK).</summary>
    FeaturesOk = 8,
    /// <summary>Set by the device: it can't go on until it is reset (DEVICE_NEEDS_RESET).</summary>
    NeedsReset = 64,
    /// <summary>The guest gave up on the device (FAILED).</summary>
    Failed = 128,
}
