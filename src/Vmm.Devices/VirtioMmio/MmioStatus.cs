namespace Vmm.Devices;

/// <summary>
/// The device status (virtio 1.2 § 2.1): the driver adds bits in order, the device adds NEEDS_RESET, a reset takes all away. Under the
/// registers' lock.
/// </summary>
internal sealed class MmioStatus(MmioRefusals refusals) : IDisposable
{
    private const DeviceStatus DriverBits =
        DeviceStatus.Acknowledge | DeviceStatus.Driver | DeviceStatus.FeaturesOk | DeviceStatus.DriverOk | DeviceStatus.Failed;

    private readonly ManualResetEventSlim _quiet = new(initialState: true);

    internal DeviceStatus Bits { get; private set; }

    /// <summary>The driver wrote 0, and the device is not quiet yet.</summary>
    internal bool IsResetting { get; private set; }

    /// <summary>The driver is ready and no reset is running.</summary>
    internal bool IsLive => Has(DeviceStatus.DriverOk) && !IsResetting;

    internal bool Has(DeviceStatus bit) => Bits.HasFlag(bit);

    /// <summary>The driver writes a status that is not 0.</summary>
    /// <returns>The bits that it added.</returns>
    internal DeviceStatus Write(uint value, MmioFeatures features)
    {
        DeviceStatus wanted = (DeviceStatus)value & DriverBits;
        DeviceStatus had = Bits & DriverBits;
        if (IsResetting || (wanted & had) != had)
        {
            refusals.Add("to clear status bits without a reset, or to set some while one is running (virtio 1.2 § 2.1.1)");
            return DeviceStatus.None;
        }
        DeviceStatus accepted = had;
        foreach (DeviceStatus bit in (ReadOnlySpan<DeviceStatus>)
            [DeviceStatus.Failed, DeviceStatus.Acknowledge, DeviceStatus.Driver, DeviceStatus.FeaturesOk, DeviceStatus.DriverOk])
        {
            if ((wanted & ~had & bit) == 0) continue;
            if (MayAdd(bit, had, accepted, features)) accepted |= bit;
            else refusals.Add($"status {bit} before its time (virtio 1.2 § 3.1.1)");
        }
        Bits |= accepted;
        return accepted & ~had;
    }

    /// <summary>The device asks its driver for a reset.</summary>
    /// <returns>False if there is no driver, it is going, or it was asked before.</returns>
    internal bool TryAskForReset()
    {
        if (Bits == DeviceStatus.None || IsResetting || Has(DeviceStatus.NeedsReset)) return false;
        Bits |= DeviceStatus.NeedsReset;
        return true;
    }

    internal void BeginReset()
    {
        IsResetting = true;
        _quiet.Reset();
    }

    /// <summary>Only now the status reads 0 (virtio 1.2 § 2.4.1).</summary>
    internal void CompleteReset()
    {
        Bits = DeviceStatus.None;
        IsResetting = false;
        _quiet.Set();
    }

    /// <summary>Waits until no reset is running, but no longer. Not under the lock.</summary>
    internal void WaitUntilQuiet(TimeSpan most) => _quiet.Wait(most);

    public void Dispose() => _quiet.Dispose();

    internal void Save(StateWriter to) => to.Add("status", (ulong)Bits);

    internal void Restore(StateReader from)
    {
        Bits = (DeviceStatus)from.UInt64("status", byte.MaxValue);
        bool isInOrder = (Bits & ~(DriverBits | DeviceStatus.NeedsReset)) == 0
            && (!Has(DeviceStatus.Driver) || Has(DeviceStatus.Acknowledge))
            && (!Has(DeviceStatus.FeaturesOk) || Has(DeviceStatus.Driver))
            && (!Has(DeviceStatus.DriverOk) || Has(DeviceStatus.FeaturesOk))
            && Bits != DeviceStatus.NeedsReset;
        if (!isInOrder) throw from.Wrong("status", $"is 0x{(byte)Bits:x}, which no device has (virtio 1.2 § 2.1)");
    }

    /// <summary>
    /// Whether a bit may follow those that the status <paramref name="had"/>, and those <paramref name="accepted"/> by the same write.
    /// </summary>
    private static bool MayAdd(DeviceStatus bit, DeviceStatus had, DeviceStatus accepted, MmioFeatures features) => bit switch
    {
        DeviceStatus.Driver => accepted.HasFlag(DeviceStatus.Acknowledge),
        DeviceStatus.FeaturesOk => accepted.HasFlag(DeviceStatus.Driver) && features.Work,
        // The driver has to read back whether FEATURES_OK was taken: both in one write can't be right.
        DeviceStatus.DriverOk => had.HasFlag(DeviceStatus.FeaturesOk) && !accepted.HasFlag(DeviceStatus.Failed),
        _ => true,
    };
}
