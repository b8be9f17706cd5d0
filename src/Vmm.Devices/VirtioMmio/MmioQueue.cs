using Vmm.Events;

namespace Vmm.Devices;

/// <summary>One queue of a virtio-mmio transport: what the driver wrote of it, and whether the device serves it.</summary>
internal sealed class MmioQueue(int index, ushort sizeMax) : IDisposable
{
    private ulong _descriptors;
    private ulong _driver;
    private ulong _device;

    /// <summary>Its number.</summary>
    internal int Index => index;

    /// <summary>Most entries it may have.</summary>
    internal ushort SizeMax => sizeMax;

    /// <summary>What a kick rings. Lives as long as the transport: an ioeventfd may hold it across resets.</summary>
    internal EventFd Kick { get; } = new();

    // The registers, under their lock. The driver can't change size and addresses of a queue that is ready.
    internal ushort Size { get; set; }
    internal bool Ready { get; set; }
    internal bool Stopping { get; set; }

    internal void WriteAddress(uint register, uint value)
    {
        switch (register)
        {
            case MmioRegister.QueueDescLow: SetLow(ref _descriptors, value); return;
            case MmioRegister.QueueDescHigh: SetHigh(ref _descriptors, value); return;
            case MmioRegister.QueueDriverLow: SetLow(ref _driver, value); return;
            case MmioRegister.QueueDriverHigh: SetHigh(ref _driver, value); return;
            case MmioRegister.QueueDeviceLow: SetLow(ref _device, value); return;
            case MmioRegister.QueueDeviceHigh: SetHigh(ref _device, value); return;
        }
    }

    /// <summary>Back to the values after a device reset.</summary>
    internal void Clear()
    {
        Size = 0;
        _descriptors = _driver = _device = 0;
        Ready = Stopping = false;
    }

    /// <summary>What is to be served.</summary>
    /// <param name="position">Where it goes on; null for a fresh ring.</param>
    internal QueueConfiguration RingAt(ushort? position) => new()
    {
        Index = index,
        Size = Size,
        SizeMax = sizeMax,
        DescriptorTable = _descriptors,
        DriverRing = _driver,
        DeviceRing = _device,
        AvailBase = position,
    };

    /// <summary>Announces that the device will write where it may write in the ring.</summary>
    internal void KeepRing(IBeforeWrite guard)
    {
        // The larger of what split and packed rings have.
        guard.Keep(_device, RingLayout.EntriesOffset + RingLayout.UsedEntryLength * (ulong)Size + sizeof(ushort));
        guard.Keep(_descriptors, RingLayout.TableLength(Size));
    }

    internal void Save(StateWriter to, ushort? position)
    {
        to.Add("size", (long)Size);
        to.Add("descriptors", _descriptors);
        to.Add("driver-area", _driver);
        to.Add("device-area", _device);
        to.Add("ready", Ready);
        if (position is { } served) to.Add("position", (ulong)served);
    }

    /// <returns>The queue and its position, if it was served.</returns>
    internal static (MmioQueue Queue, ushort Position)? Restore(MmioQueue queue, StateReader from)
    {
        queue.Size = (ushort)from.Int32("size", 0, queue.SizeMax);
        queue._descriptors = from.UInt64("descriptors");
        queue._driver = from.UInt64("driver-area");
        queue._device = from.UInt64("device-area");
        queue.Ready = from.Boolean("ready");
        if (!from.Has("position")) return null;
        ushort position = (ushort)from.UInt64("position", ushort.MaxValue);
        return queue.Ready ? (queue, position) : throw from.Wrong("position", "belongs to a queue that is not ready");
    }

    internal static void SetLow(ref ulong register, uint value) => register = (register & ~(ulong)uint.MaxValue) | value;

    internal static void SetHigh(ref ulong register, uint value) => register = (register & uint.MaxValue) | ((ulong)value << 32);

    public void Dispose() => Kick.Dispose();
}
