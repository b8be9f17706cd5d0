using System.Buffers.Binary;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

public sealed class MmioRegisterTests : IDisposable
{
    private static readonly uint[] ReadOnlyRegisters =
    [
        MmioRegister.MagicValue, MmioRegister.Version, MmioRegister.DeviceId, MmioRegister.VendorId, MmioRegister.DeviceFeatures,
        MmioRegister.QueueSizeMax, MmioRegister.InterruptStatus, MmioRegister.ShmLenLow, MmioRegister.ShmLenHigh, MmioRegister.ShmBaseLow,
        MmioRegister.ShmBaseHigh, MmioRegister.ConfigGeneration,
    ];

    private static readonly uint[] WriteOnlyRegisters =
    [
        MmioRegister.DeviceFeaturesSel, MmioRegister.DriverFeatures, MmioRegister.DriverFeaturesSel, MmioRegister.QueueSel,
        MmioRegister.QueueSize, MmioRegister.QueueNotify, MmioRegister.InterruptAck, MmioRegister.QueueDescLow, MmioRegister.QueueDescHigh,
        MmioRegister.QueueDriverLow, MmioRegister.QueueDriverHigh, MmioRegister.QueueDeviceLow, MmioRegister.QueueDeviceHigh,
        MmioRegister.ShmSel,
    ];

    private static readonly uint[] ReadWriteRegisters = [MmioRegister.QueueReady, MmioRegister.Status, MmioRegister.QueueReset];

    private readonly EchoDevice _device = new();
    private readonly SimulatedGuest _guest;

    public MmioRegisterTests() => _guest = SimulatedGuest.For(_device, new SimulatedGuestOptions { Start = false });

    public void Dispose() => _guest.Dispose();

    [Fact]
    public void The_device_says_what_it_is_4_2_2()
    {
        Assert.Equal(0x74726976u, _guest.Driver.Read(MmioRegister.MagicValue));
        Assert.Equal(2u, _guest.Driver.Read(MmioRegister.Version));
        Assert.Equal((uint)VirtioDeviceType.Console, _guest.Driver.Read(MmioRegister.DeviceId));
        Assert.NotEqual(0u, _guest.Driver.Read(MmioRegister.VendorId));
        Assert.Equal(0, _guest.Transport.RefusedAccesses);
    }

    [Fact]
    public void Every_offset_width_and_direction_has_a_defined_answer()
    {
        int refusable = 0;
        foreach (int width in (int[])[1, 2, 4, 8])
        {
            for (ulong offset = 0; offset < VirtioMmioTransport.Length + 16; offset++)
            {
                byte[] data = new byte[width];
                data.AsSpan().Fill(0xa5);
                _guest.Transport.Read(offset, data);
                if (offset >= MmioRegister.Config) continue;
                bool isRegister = width == 4 && offset % 4 == 0;
                uint register = (uint)offset;
                if (!isRegister || !(ReadOnlyRegisters.Contains(register) || ReadWriteRegisters.Contains(register)))
                {
                    refusable++;
                    Assert.All(data, b => Assert.Equal(0, b));
                }
            }
        }
        // Beyond the device nothing answers but a count.
        Assert.Equal(refusable + (4 * 16), _guest.Transport.RefusedAccesses);
    }

    [Fact]
    public void A_write_that_means_nothing_is_dropped_and_counted()
    {
        foreach (int width in (int[])[1, 2, 4, 8])
        {
            for (ulong offset = 0; offset < MmioRegister.Config; offset++)
            {
                uint register = (uint)offset;
                bool isRegister = width == 4 && offset % 4 == 0 && (WriteOnlyRegisters.Contains(register) || ReadWriteRegisters.Contains(register));
                if (isRegister) continue;
                long before = _guest.Transport.RefusedAccesses;
                _guest.Transport.Write(offset, new byte[] { 1, 1, 1, 1, 1, 1, 1, 1 }.AsSpan(0, width));
                Assert.Equal(before + 1, _guest.Transport.RefusedAccesses);
            }
        }
        Assert.Equal(DeviceStatus.None, _guest.Driver.Status);
        Assert.Equal(0x74726976u, _guest.Driver.Read(MmioRegister.MagicValue));
    }

    [Fact]
    public void Any_value_in_any_register_leaves_the_transport_working()
    {
        Random random = new(20);
        byte[] data = new byte[8];
        for (int i = 0; i < 50_000; i++)
        {
            random.NextBytes(data);
            // Half of the values small: they name queues and bits that exist.
            if (i % 2 == 0) BinaryPrimitives.WriteUInt64LittleEndian(data, (ulong)random.Next(16));
            _guest.Transport.Write((ulong)random.Next((int)MmioRegister.Config + 32), data.AsSpan(0, 1 << random.Next(4)));
            if (i % 64 == 0) _guest.RunUntilIdle();
        }
        _guest.Reset().Start();
        DriverRequest request = _guest.Queue(0).Add([[1, 2, 3]], [3]);
        _guest.Kick(0).RunUntilIdle();
        Assert.Equal([1, 2, 3], request.Written);
    }

    [Fact]
    public void Features_are_read_in_halves_and_nothing_is_offered_beyond_64_bits()
    {
        ulong offered = _guest.Driver.OfferedFeatures;
        Assert.NotEqual(0u, offered & EchoDevice.OfferedFeature);
        Assert.NotEqual(0u, offered & VirtioFeatures.Version1);
        foreach (uint half in (uint[])[2, 3, uint.MaxValue])
        {
            _guest.Driver.Write(MmioRegister.DeviceFeaturesSel, half);
            Assert.Equal(0u, _guest.Driver.Read(MmioRegister.DeviceFeatures));
        }
    }

    [Fact]
    public void A_queue_that_does_not_exist_has_a_size_of_0_and_takes_nothing_4_2_3_2()
    {
        Assert.Equal(64, _guest.Driver.QueueSizeMax(0));
        Assert.Equal(0, _guest.Driver.QueueSizeMax(2));
        _guest.Driver.Write(MmioRegister.QueueSize, 16);
        _guest.Driver.Write(MmioRegister.QueueReady, 1);
        Assert.False(_guest.Driver.IsQueueReady(2));
        Assert.Equal(2, _guest.Transport.RefusedAccesses);
        _guest.Driver.Kick(2);
        Assert.Equal(3, _guest.Transport.RefusedAccesses);
    }

    [Fact]
    public void There_is_no_shared_memory_region_4_2_2()
    {
        _guest.Driver.Write(MmioRegister.ShmSel, 0);
        foreach (uint register in (uint[])[MmioRegister.ShmLenLow, MmioRegister.ShmLenHigh, MmioRegister.ShmBaseLow, MmioRegister.ShmBaseHigh])
            Assert.Equal(uint.MaxValue, _guest.Driver.Read(register));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(8)]
    public void The_configuration_takes_any_width_2_5(int width)
    {
        byte[] data = new byte[width];
        for (int offset = 0; offset <= 8 - width; offset++)
        {
            _guest.Transport.Read(MmioRegister.Config + (ulong)offset, data);
            Assert.Equal(Enumerable.Range(offset + 1, width).Select(i => (byte)i), data);
        }
        _guest.Transport.Read(MmioRegister.Config + 16, data);
        Assert.All(data, b => Assert.Equal(0, b));
    }

    [Fact]
    public void What_the_driver_writes_of_the_configuration_reaches_the_device_on_its_reactor()
    {
        _guest.Driver.WriteConfig<ushort>(8, 0x0201);
        _guest.Driver.WriteConfig<ushort>(10, 0x0403);
        Assert.Empty(_device.Log);
        _guest.RunUntilIdle();
        Assert.Equal(["config 8+4"], _device.Log);
        Assert.Equal(0x04030201u, _guest.Driver.ReadConfig<uint>(8));
    }

    [Fact]
    public void Configuration_the_driver_may_not_write_stays()
    {
        _guest.Driver.WriteConfig(0, uint.MaxValue);
        _guest.RunUntilIdle();
        Assert.Empty(_device.Log);
        Assert.Equal(0x04030201u, _guest.Driver.ReadConfig<uint>(0));
        Assert.Equal(1, _guest.Transport.RefusedAccesses);
    }

    [Fact]
    public void The_generation_changes_with_the_configuration_2_5_3()
    {
        uint before = _guest.Driver.Read(MmioRegister.ConfigGeneration);
        _device.Grow();
        Assert.NotEqual(before, _guest.Driver.Read(MmioRegister.ConfigGeneration));
    }
}
