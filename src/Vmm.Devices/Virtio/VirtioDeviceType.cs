namespace Vmm.Devices;

/// <summary>Device kinds (virtio 1.2 § 5).</summary>
public enum VirtioDeviceType
{
    /// <summary>Network card (§ 5.1).</summary>
    Network = 1,
    /// <summary>Block device (§ 5.2).</summary>
    Block = 2,
    /// <summary>Console (§ 5.3).</summary>
    Console = 3,
    /// <summary>Entropy source (§ 5.4).</summary>
    Entropy = 4,
    /// <summary>Memory balloon (§ 5.5).</summary>
    Balloon = 5,
    /// <summary>Socket device (§ 5.10).</summary>
    Socket = 19,
}
