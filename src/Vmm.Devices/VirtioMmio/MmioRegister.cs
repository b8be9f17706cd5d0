namespace Vmm.Devices;

/// <summary>Offsets of the virtio-mmio registers, version 2 (virtio 1.2 § 4.2.2).</summary>
internal static class MmioRegister
{
    /// <summary>Reads "virt".</summary>
    public const uint MagicValue = 0x000;
    /// <summary>Reads 2.</summary>
    public const uint Version = 0x004;
    /// <summary>Reads the device type.</summary>
    public const uint DeviceId = 0x008;
    /// <summary>Reads who made the device.</summary>
    public const uint VendorId = 0x00c;
    /// <summary>Reads 32 offered features.</summary>
    public const uint DeviceFeatures = 0x010;
    /// <summary>Writes which 32 offered features to read.</summary>
    public const uint DeviceFeaturesSel = 0x014;
    /// <summary>Writes 32 accepted features.</summary>
    public const uint DriverFeatures = 0x020;
    /// <summary>Writes which 32 accepted features to write.</summary>
    public const uint DriverFeaturesSel = 0x024;
    /// <summary>Writes which queue the queue registers are of.</summary>
    public const uint QueueSel = 0x030;
    /// <summary>Reads most entries of the queue; 0 if there is no such queue.</summary>
    public const uint QueueSizeMax = 0x034;
    /// <summary>Writes the entries of the queue.</summary>
    public const uint QueueSize = 0x038;
    /// <summary>1 while the queue is in use.</summary>
    public const uint QueueReady = 0x044;
    /// <summary>Writes a kick.</summary>
    public const uint QueueNotify = 0x050;
    /// <summary>Reads why the line is up.</summary>
    public const uint InterruptStatus = 0x060;
    /// <summary>Writes what was handled.</summary>
    public const uint InterruptAck = 0x064;
    /// <summary>The device status; writing 0 resets.</summary>
    public const uint Status = 0x070;
    /// <summary>Writes the descriptor area's address; the high half follows.</summary>
    public const uint QueueDescLow = 0x080;
    /// <summary>High half of <see cref="QueueDescLow"/>.</summary>
    public const uint QueueDescHigh = 0x084;
    /// <summary>Writes the driver area's address (available ring); the high half follows.</summary>
    public const uint QueueDriverLow = 0x090;
    /// <summary>High half of <see cref="QueueDriverLow"/>.</summary>
    public const uint QueueDriverHigh = 0x094;
    /// <summary>Writes the device area's address (used ring); the high half follows.</summary>
    public const uint QueueDeviceLow = 0x0a0;
    /// <summary>High half of <see cref="QueueDeviceLow"/>.</summary>
    public const uint QueueDeviceHigh = 0x0a4;
    /// <summary>Writes which shared memory region the next four registers are of.</summary>
    public const uint ShmSel = 0x0ac;
    /// <summary>Reads the region's length; all ones if there is no such region.</summary>
    public const uint ShmLenLow = 0x0b0;
    /// <summary>High half of <see cref="ShmLenLow"/>.</summary>
    public const uint ShmLenHigh = 0x0b4;
    /// <summary>Reads the region's address; all ones if there is no such region.</summary>
    public const uint ShmBaseLow = 0x0b8;
    /// <summary>High half of <see cref="ShmBaseLow"/>.</summary>
    public const uint ShmBaseHigh = 0x0bc;
    /// <summary>Writing 1 resets the queue; reads 1 until that is done.</summary>
    public const uint QueueReset = 0x0c0;
    /// <summary>Reads a number that changes with the configuration space.</summary>
    public const uint ConfigGeneration = 0x0fc;
    /// <summary>The configuration space starts here.</summary>
    public const uint Config = 0x100;
}
