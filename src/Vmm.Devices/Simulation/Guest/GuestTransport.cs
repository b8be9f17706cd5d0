using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace Vmm.Devices.Simulation;

/// <summary>A virtio-mmio device, version 2, as a driver reaches it: register by register (virtio 1.2 § 4.2).</summary>
internal sealed class GuestTransport(GuestCpu boot, DeviceNode node)
{
    private const uint Magic = 0x74726976; // "virt"
    private const uint SupportedVersion = 2;
    private const int FeatureWords = 2;

    /// <summary>Features of rings and transport this guest can do.</summary>
    private const ulong RingFeatures =
        VirtioFeatures.Version1 | VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors | VirtioFeatures.PackedRing;

    private DeviceStatus _status;

    internal DeviceNode Node => node;

    /// <summary>What kind of device it is; known after <see cref="Identify"/>.</summary>
    internal VirtioDeviceType Type { get; private set; }

    /// <summary>The negotiated features; known after <see cref="Negotiate"/>.</summary>
    internal ulong Features { get; private set; }

    /// <summary>Whether there is a device.</summary>
    internal async ValueTask<bool> Identify()
    {
        if (await Read(MmioRegister.MagicValue) != Magic || await Read(MmioRegister.Version) != SupportedVersion) return false;
        Type = (VirtioDeviceType)await Read(MmioRegister.DeviceId);
        return Type != 0;
    }

    /// <summary>Resets the device and settles its features (virtio 1.2 § 3.1.1, steps 1 to 6).</summary>
    /// <param name="wanted">The device features the driver can do.</param>
    /// <returns>False if the device refuses them.</returns>
    internal async ValueTask<bool> Negotiate(ulong wanted)
    {
        await Reset();
        await SetStatus(DeviceStatus.Acknowledge);
        await SetStatus(DeviceStatus.Driver);
        ulong offered = 0;
        for (uint word = 0; word < FeatureWords; word++)
        {
            await Write(MmioRegister.DeviceFeaturesSel, word);
            offered |= (ulong)await Read(MmioRegister.DeviceFeatures) << (int)(word * 32);
        }
        Features = offered & (wanted | RingFeatures);
        for (uint word = 0; word < FeatureWords; word++)
        {
            await Write(MmioRegister.DriverFeaturesSel, word);
            await Write(MmioRegister.DriverFeatures, (uint)(Features >> (int)(word * 32)));
        }
        await SetStatus(DeviceStatus.FeaturesOk);
        return ((DeviceStatus)await Read(MmioRegister.Status) & DeviceStatus.FeaturesOk) != 0;
    }

    /// <summary>Resets the device and waits until it is (virtio 1.2 § 4.2.3.1.1).</summary>
    internal async ValueTask Reset()
    {
        _status = DeviceStatus.None;
        await Write(MmioRegister.Status, 0);
        while (await Read(MmioRegister.Status) != 0)
        {
        }
    }

    /// <summary>Adds a bit to the status.</summary>
    internal async ValueTask SetStatus(DeviceStatus bit)
    {
        _status |= bit;
        await Write(MmioRegister.Status, (uint)_status);
    }

    /// <summary>Most entries of a queue; 0 if there is none of that number.</summary>
    internal async ValueTask<ushort> QueueSizeMax(int queue)
    {
        await Write(MmioRegister.QueueSel, (uint)queue);
        return (ushort)await Read(MmioRegister.QueueSizeMax);
    }

    /// <summary>Writes where a queue is, and starts it (virtio 1.2 § 4.2.3.2).</summary>
    internal async ValueTask StartQueue(int queue, DriverQueue ring)
    {
        await Write(MmioRegister.QueueSel, (uint)queue);
        await Write(MmioRegister.QueueSize, ring.Size);
        await WriteAddress(MmioRegister.QueueDescLow, ring.DescriptorTable);
        await WriteAddress(MmioRegister.QueueDriverLow, ring.DriverRing);
        await WriteAddress(MmioRegister.QueueDeviceLow, ring.DeviceRing);
        await Write(MmioRegister.QueueReady, 1);
    }

    /// <summary>Kicks a queue. Any CPU.</summary>
    internal GuestStore Kick(GuestCpu cpu, int queue) => cpu.Write32(node.Base + MmioRegister.QueueNotify, (uint)queue);

    /// <summary>Reads and acknowledges why the device interrupts.</summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    internal async ValueTask<uint> TakeInterruptReasons()
    {
        uint reasons = await Read(MmioRegister.InterruptStatus);
        if (reasons != 0) await Write(MmioRegister.InterruptAck, reasons);
        return reasons;
    }

    /// <summary>Whether the device can't go on.</summary>
    internal async ValueTask<bool> NeedsReset() => ((DeviceStatus)await Read(MmioRegister.Status) & DeviceStatus.NeedsReset) != 0;

    /// <summary>Reads the configuration space, again if it changed meanwhile (virtio 1.2 § 2.5.3).</summary>
    internal async ValueTask<byte[]> ReadConfig(int length)
    {
        byte[] config = new byte[(length + 3) & ~3];
        uint generation;
        do
        {
            generation = await Read(MmioRegister.ConfigGeneration);
            for (int i = 0; i < config.Length; i += sizeof(uint))
            {
                uint word = await Read(MmioRegister.Config + (uint)i);
                BinaryPrimitives.WriteUInt32LittleEndian(config.AsSpan(i), word);
            }
        }
        while (await Read(MmioRegister.ConfigGeneration) != generation);
        return config;
    }

    /// <summary>Writes 4 bytes of the configuration space.</summary>
    internal GuestStore WriteConfig(int offset, uint value) => Write(MmioRegister.Config + (uint)offset, value);

    private async ValueTask WriteAddress(uint low, ulong address)
    {
        await Write(low, (uint)address);
        await Write(low + sizeof(uint), (uint)(address >> 32));
    }

    // All but kicks is CPU 0's business.
    private GuestLoad<uint> Read(uint register) => boot.Read32(node.Base + register);

    private GuestStore Write(uint register, uint value) => boot.Write32(node.Base + register, value);
}
