namespace Vmm.Devices;

// The registers: every one of them is touched under _lock.
public sealed partial class VirtioMmioTransport
{
    private const uint Magic = 0x74726976; // "virt"
    private const uint TransportVersion = 2;
    private const uint Vendor = 0x004d4d56; // "VMM"
    private const uint Absent = uint.MaxValue;
    private const int LowHalf = 0;
    private const int HighHalf = 32;

    private uint _deviceFeaturesSel;
    private uint _driverFeaturesSel;
    private uint _queueSel;
    private ulong _driverFeatures;
    private bool _driverFeaturesBeyond64;

    private MmioQueue? Selected => _queueSel < (uint)_queues.Length ? _queues[_queueSel] : null;

    private uint ReadRegister(uint register)
    {
        switch (register)
        {
            case MmioRegister.MagicValue: return Magic;
            case MmioRegister.Version: return TransportVersion;
            case MmioRegister.DeviceId: return (uint)_device.Type;
            case MmioRegister.VendorId: return Vendor;
            case MmioRegister.DeviceFeatures:
                return _deviceFeaturesSel switch { 0 => (uint)_offered, 1 => (uint)(_offered >> HighHalf), _ => 0 };
            case MmioRegister.QueueSizeMax: return Selected?.SizeMax ?? 0u;
            case MmioRegister.QueueReady: return Selected is { Ready: true } ? 1u : 0;
            case MmioRegister.QueueReset: return Selected is { Stopping: true } ? 1u : 0;
            case MmioRegister.InterruptStatus: return PendingInterrupts;
            case MmioRegister.Status: return (uint)_status;
            case MmioRegister.ConfigGeneration: return _device.Config.Generation;
            // There is no shared memory region: its length and address read as all ones (virtio 1.2 § 4.2.2).
            case MmioRegister.ShmLenLow or MmioRegister.ShmLenHigh or MmioRegister.ShmBaseLow or MmioRegister.ShmBaseHigh: return Absent;
            default:
                Refuse("a read of a register that is write-only or does not exist");
                return 0;
        }
    }

    private void WriteRegister(uint register, uint value)
    {
        switch (register)
        {
            case MmioRegister.Status: WriteStatus(value); return;
            case MmioRegister.InterruptAck: Acknowledge(value); return;
            case MmioRegister.DeviceFeaturesSel: _deviceFeaturesSel = value; return;
            case MmioRegister.DriverFeaturesSel: _driverFeaturesSel = value; return;
            case MmioRegister.QueueSel: _queueSel = value; return;
            case MmioRegister.ShmSel: return;
            case MmioRegister.DriverFeatures: WriteDriverFeatures(value); return;
            case MmioRegister.QueueReady: WriteQueueReady(value); return;
            case MmioRegister.QueueReset: WriteQueueReset(value); return;
            case MmioRegister.QueueSize: WriteQueueSize(value); return;
            case MmioRegister.QueueDescLow or MmioRegister.QueueDescHigh or MmioRegister.QueueDriverLow or MmioRegister.QueueDriverHigh
                or MmioRegister.QueueDeviceLow or MmioRegister.QueueDeviceHigh:
                WriteQueueAddress(register, value);
                return;
            default:
                Refuse("a write to a register that is read-only or does not exist");
                return;
        }
    }

    private void WriteDriverFeatures(uint value)
    {
        if (_resetting || _status.HasFlag(DeviceStatus.FeaturesOk))
        {
            Refuse("features after FEATURES_OK (virtio 1.2 § 3.1.1)");
            return;
        }
        switch (_driverFeaturesSel)
        {
            case 0: SetHalf(ref _driverFeatures, LowHalf, value); return;
            case 1: SetHalf(ref _driverFeatures, HighHalf, value); return;
            // Nothing is offered there: FEATURES_OK will be refused.
            default: _driverFeaturesBeyond64 |= value != 0; return;
        }
    }

    private void WriteQueueSize(uint value)
    {
        if (Configurable() is not { } queue) return;
        if (value == 0 || value > queue.SizeMax) Refuse("a queue size that is 0 or more than QueueSizeMax");
        else queue.Size = (ushort)value;
    }

    private void WriteQueueAddress(uint register, uint value)
    {
        if (Configurable() is not { } queue) return;
        switch (register)
        {
            case MmioRegister.QueueDescLow: SetHalf(ref queue.Descriptors, LowHalf, value); return;
            case MmioRegister.QueueDescHigh: SetHalf(ref queue.Descriptors, HighHalf, value); return;
            case MmioRegister.QueueDriverLow: SetHalf(ref queue.Driver, LowHalf, value); return;
            case MmioRegister.QueueDriverHigh: SetHalf(ref queue.Driver, HighHalf, value); return;
            case MmioRegister.QueueDeviceLow: SetHalf(ref queue.Device, LowHalf, value); return;
            case MmioRegister.QueueDeviceHigh: SetHalf(ref queue.Device, HighHalf, value); return;
        }
    }

    /// <summary>The selected queue, if the driver may change it now: it must not be in use (virtio 1.2 § 4.2.3.2).</summary>
    private MmioQueue? Configurable()
    {
        if (Selected is { Ready: false } queue && !_resetting) return queue;
        Refuse("to change a queue that is in use or does not exist");
        return null;
    }

    private void WriteQueueReady(uint value)
    {
        if (value == 0)
        {
            // It reads 1 until the queue is quiet: reading it back is how the driver waits (virtio 1.2 § 4.2.2.2).
            if (Selected is { Ready: true } used) StopUse(used);
            return;
        }
        if (Configurable() is not { } queue) return;
        queue.Ready = true;
        if (IsLive) Post(_ => StartQueue(queue));
    }

    private void WriteQueueReset(uint value)
    {
        if (value != 1 || (_driverFeatures & VirtioFeatures.RingReset) == 0 || !_status.HasFlag(DeviceStatus.FeaturesOk))
            Refuse("a queue reset that was not negotiated (virtio 1.2 § 2.6.1)");
        else if (Selected is { Ready: true } queue)
            StopUse(queue);
        else
            Refuse("to reset a queue that is not in use");
    }

    private void StopUse(MmioQueue queue)
    {
        if (queue.Stopping || _resetting) return;
        if (IsLive)
        {
            queue.Stopping = true;
            Post(_ => StopQueue(queue));
        }
        else
        {
            queue.Clear();
        }
    }

    private void ClearRegisters()
    {
        _deviceFeaturesSel = _driverFeaturesSel = _queueSel = 0;
        _driverFeatures = 0;
        _driverFeaturesBeyond64 = false;
        Volatile.Write(ref _kickMask, WholeKick);
        foreach (MmioQueue queue in _queues) queue.Clear();
    }

    private static void SetHalf(ref ulong register, int shift, uint value) =>
        register = (register & ~((ulong)uint.MaxValue << shift)) | ((ulong)value << shift);
}
