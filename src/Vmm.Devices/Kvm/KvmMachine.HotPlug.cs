namespace Vmm.Devices.Kvm;

// Devices that come and go while the guest runs. Every place that a virtio device can have is described to the guest from the start;
// whether one is there, it reads each time it is asked to look (ACPI § 6.3.7, § 5.6.6).
public sealed partial class KvmMachine
{
    private static readonly TimeSpan BetweenLooks = TimeSpan.FromMilliseconds(20);

    private readonly MachineEvents _events = new();

    /// <summary>
    /// Whether devices may come and go while it runs: its guest has ACPI tables that say where they would be. Not without ACPI, nor after a
    /// snapshot that was saved before there were such tables.
    /// </summary>
    public bool TakesDevices { get; private set; }

    /// <summary>Opens a device, adds it, and has the guest look for it: Linux finds it some milliseconds later.</summary>
    /// <param name="name">The device's name.</param>
    /// <param name="spec">The device.</param>
    /// <param name="setting">What the machine decides where the spec leaves it open.</param>
    /// <exception cref="ArgumentException">The device does not fit, or there is no place left; the message says why.</exception>
    /// <exception cref="NotSupportedException">The machine has no ACPI.</exception>
    /// <exception cref="IOException">Something can't be opened; the message says what and why.</exception>
    public HostedDevice Plug(string name, DeviceSpec spec, DeviceSetting? setting = null)
    {
        ThrowIfFixed();
        HostedDevice added = Host.Add(name, spec, setting);
        _events.SetPresent(added.Slot, true);
        HaveGuestLook();
        return added;
    }

    /// <summary>
    /// Empties a place, and takes the device out when its driver has let go of it. Linux unbinds it only by hand
    /// (<c>/sys/bus/platform/drivers/virtio-mmio/unbind</c>).
    /// </summary>
    /// <param name="hosted">The device.</param>
    /// <param name="cancel">Gives up the wait for the guest: the device stays.</param>
    /// <returns>Completes when nothing of the device is left.</returns>
    /// <exception cref="ArgumentException">The host does not have it, or is removing it already.</exception>
    /// <exception cref="NotSupportedException">The machine has no ACPI.</exception>
    public async Task UnplugAsync(HostedDevice hosted, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(hosted);
        ThrowIfFixed();
        if (!Host.Devices.Contains(hosted)) throw new ArgumentException($"device '{hosted.Device.Name}' is not part of this machine");
        _events.SetPresent(hosted.Slot, false);
        HaveGuestLook();
        try
        {
            while (hosted.Transport.HasDriver) await Task.Delay(BetweenLooks, cancel).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            _events.SetPresent(hosted.Slot, true);
            HaveGuestLook();
            throw;
        }
        await Host.RemoveAsync(hosted).ConfigureAwait(false);
    }

    private void ThrowIfFixed()
    {
        if (TakesDevices) return;
        throw new NotSupportedException(_board.Options.Acpi
            ? "the guest goes on from a snapshot of an older version, which gave it no places for devices: reboot it in a new machine"
            : "without ACPI the guest of this machine looks for its devices only when it boots: give them on the command line");
    }

    private void HaveGuestLook() => _board.Line((int)MachinePorts.EventGsi).Assert();
}
