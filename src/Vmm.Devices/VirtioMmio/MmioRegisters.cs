namespace Vmm.Devices;

/// <summary>
/// The registers of a virtio-mmio transport (virtio 1.2 § 4.2.2) but for the kick: each access under one small lock. What a write brings
/// about on the device's reactor is asked of the transport's <see cref="MmioLifecycle"/>.
/// </summary>
internal sealed class MmioRegisters(
    VirtioDevice device, MmioFeatures features, MmioQueue[] queues, MmioInterrupt interrupt, MmioLifecycle life, MmioRefusals refusals)
    : IDisposable
{
    private const uint Magic = 0x74726976; // "virt"
    private const uint TransportVersion = 2;
    private const uint Vendor = 0x004d4d56; // "VMM"
    private const uint Absent = uint.MaxValue;

    private readonly Lock _lock = new();
    private readonly MmioStatus _status = new(refusals);
    private uint _queueSelect;
    private TaskCompletionSource? _whenQuiet;

    /// <summary>
    /// Whether a driver has the device, or has not quite let go of it. Linux acknowledges it again after that. Any thread.
    /// </summary>
    internal bool HasDriver
    {
        get { lock (_lock) return _status.Has(DeviceStatus.Driver) || _status.IsResetting; }
    }

    /// <summary>Whether the guest noticed the device (virtio 1.2 § 2.1). Any thread.</summary>
    internal bool IsAcknowledged
    {
        get { lock (_lock) return _status.Has(DeviceStatus.Acknowledge); }
    }

    /// <summary>Whether the driver is ready, and no reset is running. Any thread.</summary>
    internal bool IsLive
    {
        get { lock (_lock) return _status.IsLive; }
    }

    private MmioQueue? Selected => _queueSelect < (uint)queues.Length ? queues[_queueSelect] : null;

    internal uint Read(uint register)
    {
        lock (_lock)
        {
            switch (register)
            {
                case MmioRegister.MagicValue: return Magic;
                case MmioRegister.Version: return TransportVersion;
                case MmioRegister.DeviceId: return (uint)device.Type;
                case MmioRegister.VendorId: return Vendor;
                case MmioRegister.DeviceFeatures: return features.Offered;
                case MmioRegister.QueueSizeMax: return Selected?.SizeMax ?? 0u;
                case MmioRegister.QueueReady: return Selected is { Ready: true } ? 1u : 0;
                case MmioRegister.QueueReset: return Selected is { Stopping: true } ? 1u : 0;
                case MmioRegister.InterruptStatus: return interrupt.Reasons;
                case MmioRegister.Status: return (uint)_status.Bits;
                case MmioRegister.ConfigGeneration: return device.Config.Generation;
                // There is no shared memory region: its length and address read as all ones (virtio 1.2 § 4.2.2).
                case MmioRegister.ShmLenLow or MmioRegister.ShmLenHigh or MmioRegister.ShmBaseLow or MmioRegister.ShmBaseHigh:
                    return Absent;
                default:
                    refusals.Add("a read of a register that is write-only or does not exist");
                    return 0;
            }
        }
    }

    internal void Write(uint register, uint value)
    {
        lock (_lock)
        {
            switch (register)
            {
                case MmioRegister.Status: WriteStatus(value); return;
                case MmioRegister.InterruptAck: interrupt.Acknowledge(value); return;
                case MmioRegister.DeviceFeaturesSel: features.DeviceSelect = value; return;
                case MmioRegister.DriverFeaturesSel: features.DriverSelect = value; return;
                case MmioRegister.QueueSel: _queueSelect = value; return;
                case MmioRegister.ShmSel: return;
                case MmioRegister.DriverFeatures: WriteDriverFeatures(value); return;
                case MmioRegister.QueueReady: WriteQueueReady(value); return;
                case MmioRegister.QueueReset: WriteQueueReset(value); return;
                case MmioRegister.QueueSize: WriteQueueSize(value); return;
                case MmioRegister.QueueDescLow or MmioRegister.QueueDescHigh or MmioRegister.QueueDriverLow
                    or MmioRegister.QueueDriverHigh or MmioRegister.QueueDeviceLow or MmioRegister.QueueDeviceHigh:
                    Configurable()?.WriteAddress(register, value);
                    return;
                default:
                    refusals.Add("a write to a register that is read-only or does not exist");
                    return;
            }
        }
    }

    /// <inheritdoc cref="MmioStatus.WaitUntilQuiet"/>
    internal void WaitUntilQuiet(TimeSpan most) => _status.WaitUntilQuiet(most);

    /// <summary>The device asks its driver for a reset. Any thread.</summary>
    /// <returns>Whether the driver is to be interrupted for that.</returns>
    internal bool AskForReset()
    {
        lock (_lock) return _status.TryAskForReset() && _status.IsLive;
    }

    /// <summary>Resets the device as if the driver had asked for it, and completes when it is quiet. Any thread.</summary>
    internal Task ResetAsync()
    {
        TaskCompletionSource quiet = new(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_lock)
        {
            BeginReset();
            if (!_status.IsResetting) return Task.CompletedTask;
            _whenQuiet = quiet;
        }
        return quiet.Task;
    }

    /// <summary>Announces that the device will write where it may write in its rings, which it serves already.</summary>
    internal void KeepRings(IBeforeWrite guard)
    {
        lock (_lock)
        {
            foreach (MmioQueue queue in queues) if (queue.Ready) queue.KeepRing(guard);
        }
    }

    /// <exception cref="StateException">The device is not paused, or a request is in flight.</exception>
    internal void Save(StateWriter to)
    {
        lock (_lock)
        {
            if (_status.IsResetting || life.Runner.AnyRuns)
                throw new StateException($"{device.Name} is not paused: pause the machine before it is saved");
            for (int i = 0; i < queues.Length; i++)
            {
                if (life.Runner.InFlight(i) is > 0 and var left)
                    throw new StateException($"queue '{device.Queues[i].Name}' of {device.Name} has {left} requests in flight, although "
                        + "it is paused: try again when its storage answers");
            }
            _status.Save(to);
            interrupt.Save(to);
            features.Save(to);
            to.Add("queue-select", (ulong)_queueSelect);
            foreach (MmioQueue queue in queues) queue.Save(to.AddItem("queues"), life.Runner.HeldAt(queue.Index));
        }
    }

    /// <summary>Nothing that a driver could not have brought about.</summary>
    /// <returns>The queues that were served, and where each stood.</returns>
    /// <exception cref="StateException">It does not fit.</exception>
    internal (MmioQueue Queue, ushort Position)[] Restore(StateReader from)
    {
        IReadOnlyList<StateReader> items = from.Items("queues", VirtQueue.SizeLimit);
        if (items.Count != queues.Length)
            throw from.Wrong("queues", $"are {items.Count}, and {device.Name} has {queues.Length}: make it with as many");
        lock (_lock)
        {
            _status.Restore(from);
            features.Restore(from, _status.Has(DeviceStatus.FeaturesOk));
            _queueSelect = (uint)from.UInt64("queue-select", uint.MaxValue);
            interrupt.Restore(from);
            (MmioQueue, ushort)[] served = [.. queues.Zip(items, MmioQueue.Restore).OfType<(MmioQueue, ushort)>()];
            return _status.IsLive || served.Length == 0 ? served
                : throw from.Wrong("queues", "are served, for a driver that is not ready");
        }
    }

    public void Dispose() => _status.Dispose();

    private void WriteStatus(uint value)
    {
        if (value == 0)
        {
            BeginReset();
            return;
        }
        DeviceStatus added = _status.Write(value, features);
        if (added.HasFlag(DeviceStatus.FeaturesOk)) features.Settle();
        if (added.HasFlag(DeviceStatus.DriverOk)) life.Activate(features.Accepted, [.. queues.Where(queue => queue.Ready)]);
    }

    private void WriteDriverFeatures(uint value)
    {
        if (_status.IsResetting || _status.Has(DeviceStatus.FeaturesOk)) refusals.Add("features after FEATURES_OK (virtio 1.2 § 3.1.1)");
        else features.Write(value);
    }

    private void WriteQueueSize(uint value)
    {
        if (Configurable() is not { } queue) return;
        if (value == 0 || value > queue.SizeMax) refusals.Add("a queue size that is 0 or more than QueueSizeMax");
        else queue.Size = (ushort)value;
    }

    /// <summary>The selected queue, if the driver may change it now: it must not be in use (virtio 1.2 § 4.2.3.2).</summary>
    private MmioQueue? Configurable()
    {
        if (Selected is { Ready: false } queue && !_status.IsResetting) return queue;
        refusals.Add("to change a queue that is in use or does not exist");
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
        if (_status.IsLive) life.StartQueue(queue);
    }

    private void WriteQueueReset(uint value)
    {
        if (value != 1 || !features.Has(VirtioFeatures.RingReset) || !_status.Has(DeviceStatus.FeaturesOk))
            refusals.Add("a queue reset that was not negotiated (virtio 1.2 § 2.6.1)");
        else if (Selected is { Ready: true } queue)
            StopUse(queue);
        else
            refusals.Add("to reset a queue that is not in use");
    }

    private void StopUse(MmioQueue queue)
    {
        if (queue.Stopping || _status.IsResetting) return;
        if (!_status.IsLive)
        {
            queue.Clear();
            return;
        }
        queue.Stopping = true;
        life.StopQueue(queue, () =>
        {
            lock (_lock) queue.Clear();
        });
    }

    private void BeginReset()
    {
        if (_status.IsResetting) return;
        // A device that no driver activated is quiet.
        if (_status.Has(DeviceStatus.DriverOk))
        {
            _status.BeginReset();
            if (life.Reset(FinishReset)) return;
        }
        CompleteReset();
    }

    /// <summary>On the reactor.</summary>
    private void FinishReset()
    {
        TaskCompletionSource? quiet;
        lock (_lock)
        {
            CompleteReset();
            quiet = _whenQuiet;
            _whenQuiet = null;
        }
        quiet?.SetResult();
    }

    private void CompleteReset()
    {
        features.Clear();
        _queueSelect = 0;
        foreach (MmioQueue queue in queues) queue.Clear();
        interrupt.Clear();
        _status.CompleteReset();
    }
}
