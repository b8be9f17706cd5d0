using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Devices.Simulation;

/// <summary>
/// A driver's walk through the registers of a virtio-mmio device (virtio 1.2 § 3.1 and § 4.2.3), in the order a real kernel takes. It
/// reaches the device by accesses only: straight, or by the exits of a vCPU.
/// </summary>
/// <param name="registers">The device's registers, from its first one.</param>
internal sealed class VirtioMmioDriver(IBusDevice registers)
{
    /// <summary>What InterruptStatus says when a queue has used buffers.</summary>
    internal const uint UsedBuffersInterrupt = 1;

    /// <summary>What InterruptStatus says when the configuration, or the device's health, changed.</summary>
    internal const uint ConfigInterrupt = 2;

    private const uint Magic = 0x74726976;
    private const uint TransportVersion = 2;
    private const int HighHalf = 32;

    /// <summary>Whether there is a virtio device of this version at all.</summary>
    internal bool IsPresent =>
        Read(MmioRegister.MagicValue) == Magic && Read(MmioRegister.Version) == TransportVersion && Read(MmioRegister.DeviceId) != 0;

    /// <summary>The kind of device.</summary>
    internal VirtioDeviceType Type => (VirtioDeviceType)Read(MmioRegister.DeviceId);

    /// <summary>The status as the device has it.</summary>
    internal DeviceStatus Status => (DeviceStatus)Read(MmioRegister.Status);

    /// <summary>Every feature bit the device offers.</summary>
    internal ulong OfferedFeatures
    {
        get
        {
            Write(MmioRegister.DeviceFeaturesSel, 0);
            ulong low = Read(MmioRegister.DeviceFeatures);
            Write(MmioRegister.DeviceFeaturesSel, 1);
            return low | ((ulong)Read(MmioRegister.DeviceFeatures) << HighHalf);
        }
    }

    /// <summary>Reads a register.</summary>
    internal uint Read(uint register)
    {
        Span<byte> data = stackalloc byte[sizeof(uint)];
        registers.Read(register, data);
        return BinaryPrimitives.ReadUInt32LittleEndian(data);
    }

    /// <summary>Writes a register.</summary>
    internal void Write(uint register, uint value)
    {
        Span<byte> data = stackalloc byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(data, value);
        registers.Write(register, data);
    }

    /// <summary>Asks for a reset. It is done when <see cref="Status"/> is <see cref="DeviceStatus.None"/>.</summary>
    internal void Reset() => Write(MmioRegister.Status, 0);

    /// <summary>Adds status bits to those the device has.</summary>
    internal void AddStatus(DeviceStatus bits) => Write(MmioRegister.Status, (uint)(Status | bits));

    /// <summary>Acknowledges the device and settles its features.</summary>
    /// <param name="wanted">Those the driver can use; it takes what of them is offered, and VERSION_1.</param>
    /// <param name="features">Those in force.</param>
    /// <returns>False if the device refused: the driver then has set FAILED.</returns>
    internal bool TryNegotiate(ulong wanted, out ulong features)
    {
        AddStatus(DeviceStatus.Acknowledge);
        AddStatus(DeviceStatus.Driver);
        features = OfferedFeatures & (wanted | VirtioFeatures.Version1);
        WriteFeatures(features);
        AddStatus(DeviceStatus.FeaturesOk);
        if (Status.HasFlag(DeviceStatus.FeaturesOk)) return true;
        AddStatus(DeviceStatus.Failed);
        return false;
    }

    /// <summary>Writes the features the driver accepts, whatever was offered.</summary>
    internal void WriteFeatures(ulong features)
    {
        Write(MmioRegister.DriverFeaturesSel, 0);
        Write(MmioRegister.DriverFeatures, (uint)features);
        Write(MmioRegister.DriverFeaturesSel, 1);
        Write(MmioRegister.DriverFeatures, (uint)(features >> HighHalf));
    }

    /// <summary>Most entries a queue may have; 0 if there is no such queue.</summary>
    internal ushort QueueSizeMax(int index)
    {
        Write(MmioRegister.QueueSel, (uint)index);
        return (ushort)Read(MmioRegister.QueueSizeMax);
    }

    /// <summary>Writes where a queue is, and enables it.</summary>
    internal void SetUpQueue(int index, QueueConfiguration queue)
    {
        Write(MmioRegister.QueueSel, (uint)index);
        Write(MmioRegister.QueueSize, queue.Size);
        WriteAddress(MmioRegister.QueueDescLow, MmioRegister.QueueDescHigh, queue.DescriptorTable);
        WriteAddress(MmioRegister.QueueDriverLow, MmioRegister.QueueDriverHigh, queue.DriverRing);
        WriteAddress(MmioRegister.QueueDeviceLow, MmioRegister.QueueDeviceHigh, queue.DeviceRing);
        Write(MmioRegister.QueueReady, 1);
    }

    /// <summary>Whether the device uses a queue.</summary>
    internal bool IsQueueReady(int index)
    {
        Write(MmioRegister.QueueSel, (uint)index);
        return Read(MmioRegister.QueueReady) == 1;
    }

    /// <summary>Asks for the reset of one queue (RING_RESET); it is done when <see cref="IsQueueReady"/> is false.</summary>
    internal void ResetQueue(int index)
    {
        Write(MmioRegister.QueueSel, (uint)index);
        Write(MmioRegister.QueueReset, 1);
    }

    /// <summary>Rings a queue.</summary>
    internal void Kick(int index) => Write(MmioRegister.QueueNotify, (uint)index);

    /// <summary>Takes the reasons of the interrupt, and acknowledges them.</summary>
    /// <returns><see cref="UsedBuffersInterrupt"/>, <see cref="ConfigInterrupt"/>, both or 0.</returns>
    internal uint TakeInterrupts()
    {
        uint reasons = Read(MmioRegister.InterruptStatus);
        if (reasons != 0) Write(MmioRegister.InterruptAck, reasons);
        return reasons;
    }

    /// <summary>Reads a field of the configuration space, with the widest accesses its alignment and length allow.</summary>
    internal T ReadConfig<T>(int offset) where T : unmanaged
    {
        T value = default;
        Span<byte> bytes = MemoryMarshal.AsBytes(new Span<T>(ref value));
        uint generation;
        do
        {
            generation = Read(MmioRegister.ConfigGeneration);
            for (int done = 0; done < bytes.Length;)
            {
                int width = WidthAt(offset + done, bytes.Length - done);
                registers.Read(MmioRegister.Config + (ulong)(offset + done), bytes.Slice(done, width));
                done += width;
            }
        }
        while (Read(MmioRegister.ConfigGeneration) != generation);
        return value;
    }

    /// <summary>Writes a field of the configuration space.</summary>
    internal void WriteConfig<T>(int offset, T value) where T : unmanaged
    {
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value));
        for (int done = 0; done < Unsafe.SizeOf<T>();)
        {
            int width = WidthAt(offset + done, bytes.Length - done);
            registers.Write(MmioRegister.Config + (ulong)(offset + done), bytes.Slice(done, width));
            done += width;
        }
    }

    private void WriteAddress(uint low, uint high, ulong address)
    {
        Write(low, (uint)address);
        Write(high, (uint)(address >> HighHalf));
    }

    // At most 4 bytes: an 8-byte field is two of them (virtio 1.2 § 4.2.2.2).
    private static int WidthAt(int offset, int length) =>
        (offset % 4 == 0 && length >= 4) ? 4 : (offset % 2 == 0 && length >= 2) ? 2 : 1;
}
