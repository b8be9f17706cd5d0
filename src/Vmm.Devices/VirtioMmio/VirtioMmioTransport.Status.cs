namespace Vmm.Devices;

// The device status (virtio 1.2 § 2.1): the driver adds bits in order, the device adds NEEDS_RESET, a reset takes all away.
public sealed partial class VirtioMmioTransport
{
    private const DeviceStatus DriverBits =
        DeviceStatus.Acknowledge | DeviceStatus.Driver | DeviceStatus.FeaturesOk | DeviceStatus.DriverOk | DeviceStatus.Failed;

    private readonly ManualResetEventSlim _quiet = new(initialState: true);
    private DeviceStatus _status;
    private bool _resetting;

    /// <summary>
    /// Whether a driver has the device, or has not quite let go of it. Linux acknowledges it again after that. Any thread.
    /// </summary>
    internal bool HasDriver
    {
        get { lock (_lock) return _status.HasFlag(DeviceStatus.Driver) || _resetting; }
    }

    /// <summary>The driver is ready and no reset is under way. Under _lock.</summary>
    private bool IsLive => _status.HasFlag(DeviceStatus.DriverOk) && !_resetting;

    private void WriteStatus(uint value)
    {
        if (value == 0)
        {
            BeginReset();
            return;
        }
        DeviceStatus wanted = (DeviceStatus)value & DriverBits;
        DeviceStatus had = _status & DriverBits;
        if (_resetting || (wanted & had) != had)
        {
            Refuse("to clear status bits without a reset, or to set some while one is under way (virtio 1.2 § 2.1.1)");
            return;
        }
        DeviceStatus accepted = had;
        foreach (DeviceStatus bit in (ReadOnlySpan<DeviceStatus>)
            [DeviceStatus.Failed, DeviceStatus.Acknowledge, DeviceStatus.Driver, DeviceStatus.FeaturesOk, DeviceStatus.DriverOk])
        {
            if ((wanted & ~had & bit) == 0) continue;
            if (MayAdd(bit, had, accepted)) accepted |= bit;
            else Refuse($"status {bit} before its time (virtio 1.2 § 3.1.1)");
        }
        _status |= accepted;
        if ((accepted & ~had & DeviceStatus.FeaturesOk) != 0) TakeFeatures();
        if ((accepted & ~had & DeviceStatus.DriverOk) != 0) PostActivation();
    }

    /// <summary>
    /// Whether a bit may follow those that the status <paramref name="had"/>, and those <paramref name="accepted"/> by the same write.
    /// </summary>
    private bool MayAdd(DeviceStatus bit, DeviceStatus had, DeviceStatus accepted) => bit switch
    {
        DeviceStatus.Driver => accepted.HasFlag(DeviceStatus.Acknowledge),
        DeviceStatus.FeaturesOk => accepted.HasFlag(DeviceStatus.Driver) && FeaturesWork(),
        // The driver has to read back whether FEATURES_OK was taken: both in one write can't be right.
        DeviceStatus.DriverOk => had.HasFlag(DeviceStatus.FeaturesOk) && !accepted.HasFlag(DeviceStatus.Failed),
        _ => true,
    };

    /// <summary>virtio 1.2 § 2.2.2 and § 6.2: a subset of what is offered, with VERSION_1, that the device can work with.</summary>
    private bool FeaturesWork() =>
        !_driverFeaturesBeyond64
        && (_driverFeatures & ~_offered) == 0
        && (_driverFeatures & VirtioFeatures.Version1) != 0
        && _device.AcceptsFeatures(_driverFeatures);

    private void TakeFeatures()
    {
        Volatile.Write(ref _kickMask, (_driverFeatures & VirtioFeatures.NotificationData) != 0 ? KickWithData : WholeKick);
        _device.OnFeaturesAccepted(_driverFeatures);
    }

    private void BeginReset()
    {
        if (_resetting) return;
        if (!_status.HasFlag(DeviceStatus.DriverOk))
        {
            // The device was not activated by this driver yet.
            CompleteReset();
            return;
        }
        _resetting = true;
        _quiet.Reset();
        // With its reactor gone the device is as quiet as it will ever be.
        if (!Post(_ => _runner.Reset(FinishReset))) CompleteReset();
    }

    /// <summary>Only now the status reads 0 (virtio 1.2 § 2.4.1).</summary>
    private void CompleteReset()
    {
        ClearRegisters();
        ClearInterrupts();
        _status = DeviceStatus.None;
        _resetting = false;
        _quiet.Set();
    }

    private void WaitForReset()
    {
        if (_options.ResetWait > TimeSpan.Zero && !_main.IsReactorThread) _quiet.Wait(_options.ResetWait);
    }
}
