namespace Vmm.Devices;

// Interrupts to the driver. Reactor threads raise, vCPU threads look and acknowledge; a lock of its own keeps line and reasons
// together.
public sealed partial class VirtioMmioTransport
{
    private const uint UsedBuffers = 1;
    private const uint ConfigChange = 2;

    private readonly Lock _interruptLock = new();
    private uint _interrupts;

    private uint PendingInterrupts => Volatile.Read(ref _interrupts);

    /// <inheritdoc/>
    public void SignalQueue(int queueIndex) => Raise(UsedBuffers);

    /// <inheritdoc/>
    public void SignalConfig()
    {
        bool live;
        lock (_lock) live = IsLive;
        if (live) Raise(ConfigChange);
    }

    /// <inheritdoc/>
    public void SignalNeedsReset()
    {
        bool live;
        lock (_lock)
        {
            // A driver that is gone, or going, needs no interrupt.
            if (_status == DeviceStatus.None || _resetting || _status.HasFlag(DeviceStatus.NeedsReset)) return;
            _status |= DeviceStatus.NeedsReset;
            live = IsLive;
        }
        if (live) Raise(ConfigChange);
    }

    private void Raise(uint reason)
    {
        lock (_interruptLock)
        {
            _interrupts |= reason;
            _line.Assert();
        }
    }

    private void Acknowledge(uint reasons)
    {
        lock (_interruptLock)
        {
            _interrupts &= ~reasons;
            if (_interrupts == 0) _line.Deassert();
        }
    }

    private void ClearInterrupts() => Acknowledge(uint.MaxValue);
}
