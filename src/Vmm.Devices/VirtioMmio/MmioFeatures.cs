namespace Vmm.Devices;

/// <summary>The features that are offered and those that the driver wrote, 32 at a time. Under the registers' lock.</summary>
internal sealed class MmioFeatures(VirtioDevice device, ulong offered)
{
    private const uint WholeKick = uint.MaxValue;
    private const uint KickWithData = ushort.MaxValue;

    private ulong _accepted;
    private bool _isBeyond64;
    private uint _kickMask = WholeKick;

    internal uint DeviceSelect { get; set; }

    internal uint DriverSelect { get; set; }

    /// <summary>What the driver wrote.</summary>
    internal ulong Accepted => _accepted;

    /// <summary>Those that the driver selected to read.</summary>
    internal uint Offered => DeviceSelect switch { 0 => (uint)offered, 1 => (uint)(offered >> 32), _ => 0 };

    /// <summary>
    /// The part of a kick that is the queue's number: with NOTIFICATION_DATA the other half says how far the driver got (virtio 1.2 § 2.9).
    /// The ring says so too, and is what counts. Any thread.
    /// </summary>
    internal uint KickMask => Volatile.Read(ref _kickMask);

    /// <summary>virtio 1.2 § 2.2.2 and § 6.2: a subset of what is offered, with VERSION_1, that the device can work with.</summary>
    internal bool Work =>
        !_isBeyond64 && (_accepted & ~offered) == 0 && (_accepted & VirtioFeatures.Version1) != 0 && device.AcceptsFeatures(_accepted);

    internal bool Has(ulong feature) => (_accepted & feature) != 0;

    internal void Write(uint value)
    {
        switch (DriverSelect)
        {
            case 0: MmioQueue.SetLow(ref _accepted, value); return;
            case 1: MmioQueue.SetHigh(ref _accepted, value); return;
            // Nothing is offered there: FEATURES_OK will be refused.
            default: _isBeyond64 |= value != 0; return;
        }
    }

    /// <summary>The driver and the device agree on them.</summary>
    internal void Settle()
    {
        Volatile.Write(ref _kickMask, Has(VirtioFeatures.NotificationData) ? KickWithData : WholeKick);
        device.OnFeaturesAccepted(_accepted);
    }

    internal void Clear()
    {
        DeviceSelect = DriverSelect = 0;
        _accepted = 0;
        _isBeyond64 = false;
        Volatile.Write(ref _kickMask, WholeKick);
    }

    internal void Save(StateWriter to)
    {
        to.Add("features", _accepted);
        to.Add("features-beyond-64", _isBeyond64);
        to.Add("device-features-select", (ulong)DeviceSelect);
        to.Add("driver-features-select", (ulong)DriverSelect);
    }

    /// <param name="from">What was saved.</param>
    /// <param name="areSettled">Whether driver and device had agreed on them.</param>
    internal void Restore(StateReader from, bool areSettled)
    {
        _accepted = from.UInt64("features");
        _isBeyond64 = from.Boolean("features-beyond-64");
        DeviceSelect = (uint)from.UInt64("device-features-select", uint.MaxValue);
        DriverSelect = (uint)from.UInt64("driver-features-select", uint.MaxValue);
        if (!areSettled) return;
        if (!Work)
        {
            string missing = string.Join(' ', FeatureNames.Of(device.Type, _accepted & ~offered));
            throw from.Wrong("features", missing.Length > 0
                ? $"have {missing}, which {device.Name} does not offer: make it with the options it was saved with"
                : $"are 0x{_accepted:x}, with which no device works (virtio 1.2 § 2.2)");
        }
        Settle();
    }
}
