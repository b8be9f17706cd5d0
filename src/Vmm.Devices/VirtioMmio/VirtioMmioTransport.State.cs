using Vmm.Events;

namespace Vmm.Devices;

// A device that goes on in another process: its registers, its configuration, where each queue stands, and what the device knows.
public sealed partial class VirtioMmioTransport
{
    private const DeviceStatus EveryBit = DriverBits | DeviceStatus.NeedsReset;

    /// <summary>Writes what another process needs to go on with the same driver. On the device's reactor.</summary>
    /// <exception cref="StateException">The device is not paused, or a request is in flight.</exception>
    internal void Save(StateWriter to)
    {
        lock (_lock)
        {
            if (_resetting || _runner.AnyRuns)
                throw new StateException($"{_device.Name} is not paused: pause the machine before it is saved");
            for (int i = 0; i < _queues.Length; i++)
            {
                if (_runner.InFlight(i) is > 0 and var left)
                    throw new StateException($"queue '{_device.Queues[i].Name}' of {_device.Name} has {left} requests in flight, although "
                        + "it is paused: try again when its storage answers");
            }
            SaveRegisters(to.AddRecord("registers"));
        }
        _device.Config.Save(to.AddRecord("configuration"));
        _device.Save(to.AddRecord("device", _device.StateVersion));
    }

    /// <summary>
    /// Takes over from the process that wrote <paramref name="from"/>: the device is paused then, and goes on where it stood when it is
    /// resumed. Guest memory, and interrupt controllers, have their state already. Once, before a vCPU runs; on the device's reactor.
    /// </summary>
    /// <exception cref="StateException">It does not fit; the device is good for nothing but its disposal.</exception>
    internal void Restore(StateReader from, IReactor reactor)
    {
        StateReader registers = from.Record("registers");
        IReadOnlyList<StateReader> queues = registers.Items("queues", VirtQueue.SizeLimit);
        if (queues.Count != _queues.Length)
            throw registers.Wrong("queues", $"are {queues.Count}, and {_device.Name} has {_queues.Length}: make it with as many");
        (MmioQueue Queue, ushort Position)[] served;
        lock (_lock)
        {
            RestoreRegisters(registers);
            served = [.. _queues.Zip(queues, RestoreQueue).OfType<(MmioQueue, ushort)>()];
            if (_status.HasFlag(DeviceStatus.FeaturesOk)) TakeFeatures();
        }
        if (IsLive) _runner.BeginPaused(new DriverSession(_driverFeatures, _memory, this, reactor, _main));
        else if (served.Length > 0) throw registers.Wrong("queues", "are served, for a driver that is not ready");
        _device.Restore(from.Record("device", _device.StateVersion));
        bool isOther = _device.Config.Restore(from.Record("configuration"));
        foreach ((MmioQueue queue, ushort position) in served) StartQueue(queue, position);
        if (isOther) SignalConfig();
    }

    /// <summary>Announces that the device will write where it may write in its rings, which it serves already.</summary>
    internal void KeepRings(IBeforeWrite guard)
    {
        lock (_lock)
        {
            foreach (MmioQueue queue in _queues)
            {
                if (!queue.Ready) continue;
                // The larger of what split and packed rings have.
                guard.Keep(queue.Device, RingLayout.EntriesOffset + RingLayout.UsedEntryLength * (ulong)queue.Size + sizeof(ushort));
                guard.Keep(queue.Descriptors, RingLayout.TableLength(queue.Size));
            }
        }
    }

    private void SaveRegisters(StateWriter to)
    {
        to.Add("status", (ulong)_status);
        to.Add("interrupts", (ulong)PendingInterrupts);
        to.Add("features", _driverFeatures);
        to.Add("features-beyond-64", _driverFeaturesBeyond64);
        to.Add("device-features-select", (ulong)_deviceFeaturesSel);
        to.Add("driver-features-select", (ulong)_driverFeaturesSel);
        to.Add("queue-select", (ulong)_queueSel);
        foreach (MmioQueue queue in _queues)
        {
            StateWriter item = to.AddItem("queues");
            item.Add("size", (long)queue.Size);
            item.Add("descriptors", queue.Descriptors);
            item.Add("driver-area", queue.Driver);
            item.Add("device-area", queue.Device);
            item.Add("ready", queue.Ready);
            if (_runner.HeldAt(queue.Index) is { } position) item.Add("position", (ulong)position);
        }
    }

    /// <summary>Nothing that a driver could not have brought about.</summary>
    private void RestoreRegisters(StateReader from)
    {
        _status = (DeviceStatus)from.UInt64("status", byte.MaxValue);
        _driverFeatures = from.UInt64("features");
        _driverFeaturesBeyond64 = from.Boolean("features-beyond-64");
        _deviceFeaturesSel = (uint)from.UInt64("device-features-select", uint.MaxValue);
        _driverFeaturesSel = (uint)from.UInt64("driver-features-select", uint.MaxValue);
        _queueSel = (uint)from.UInt64("queue-select", uint.MaxValue);
        bool isInOrder = (_status & ~EveryBit) == 0
            && (!_status.HasFlag(DeviceStatus.Driver) || _status.HasFlag(DeviceStatus.Acknowledge))
            && (!_status.HasFlag(DeviceStatus.FeaturesOk) || _status.HasFlag(DeviceStatus.Driver))
            && (!_status.HasFlag(DeviceStatus.DriverOk) || _status.HasFlag(DeviceStatus.FeaturesOk))
            && _status != DeviceStatus.NeedsReset;
        if (!isInOrder) throw from.Wrong("status", $"is 0x{(byte)_status:x}, which no device has (virtio 1.2 § 2.1)");
        if (_status.HasFlag(DeviceStatus.FeaturesOk) && !FeaturesWork())
        {
            string missing = string.Join(' ', FeatureNames.Of(_device.Type, _driverFeatures & ~_offered));
            throw from.Wrong("features", missing.Length > 0
                ? $"have {missing}, which {_device.Name} does not offer: make it with the options it was saved with"
                : $"are 0x{_driverFeatures:x}, with which no device works (virtio 1.2 § 2.2)");
        }
        uint pending = (uint)from.UInt64("interrupts", UsedBuffers | ConfigChange);
        // Where lines have edges, one that was on its way when the machine was saved may have been lost. One too many does no harm.
        if (pending != 0) Raise(pending);
    }

    /// <returns>The queue and its position, if it was served.</returns>
    private static (MmioQueue Queue, ushort Position)? RestoreQueue(MmioQueue queue, StateReader from)
    {
        queue.Size = (ushort)from.Int32("size", 0, queue.SizeMax);
        queue.Descriptors = from.UInt64("descriptors");
        queue.Driver = from.UInt64("driver-area");
        queue.Device = from.UInt64("device-area");
        queue.Ready = from.Boolean("ready");
        if (!from.Has("position")) return null;
        ushort position = (ushort)from.UInt64("position", ushort.MaxValue);
        return queue.Ready ? (queue, position) : throw from.Wrong("position", "belongs to a queue that is not ready");
    }
}
