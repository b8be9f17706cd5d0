namespace Vmm.Devices;

/// <summary>Interrupts to the driver, through the transport. Called on any reactor thread.</summary>
public interface IVirtioInterrupt
{
    /// <summary>A queue has used buffers (virtio 1.2 § 2.3). The queue has looked at the driver's suppression already.</summary>
    void SignalQueue(int queueIndex);

    /// <summary>The configuration space changed. Any thread.</summary>
    void SignalConfig();

    /// <summary>The device is broken until reset: DEVICE_NEEDS_RESET, and a configuration interrupt (virtio 1.2 § 2.1.2).</summary>
    void SignalNeedsReset();
}
