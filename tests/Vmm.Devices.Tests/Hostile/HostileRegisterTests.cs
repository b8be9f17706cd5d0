using System.Buffers.Binary;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>Registers accessed as no driver may, in front of every device.</summary>
public sealed class HostileRegisterTests
{
    private const ulong Registers = 0xd000_0000;

    private static readonly uint[] QueueRegisters =
    [
        MmioRegister.QueueSize, MmioRegister.QueueDescLow, MmioRegister.QueueDescHigh, MmioRegister.QueueDriverLow, MmioRegister.QueueDriverHigh,
        MmioRegister.QueueDeviceLow, MmioRegister.QueueDeviceHigh,
    ];

    /// <summary>A device as far as a driver can bring it.</summary>
    private static readonly Action<HostileGuest>[] States =
    [
        _ => { },
        hostile => hostile.Guest.Driver.AddStatus(DeviceStatus.Acknowledge),
        hostile => hostile.Guest.Negotiate(),
        hostile => hostile.Guest.Negotiate().SetUpQueues(),
        hostile => hostile.Guest.Start(),
        hostile =>
        {
            BatteryRequest request = hostile.Requests[0];
            DriverQueue ring = hostile.Guest.Start().Queue(request.Queue).Ring;
            ring.TryAdd([new GuestBuffer(ulong.MaxValue, 16)], [], out _);
            ring.Publish();
            hostile.Serve(request);
            Assert.True(hostile.NeedsReset);
        },
        hostile =>
        {
            hostile.Guest.Start();
            hostile.Guest.Driver.AddStatus(DeviceStatus.Failed);
        },
    ];

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "virtio 1.2 § 4.2.2.2: registers are 32 bits wide and aligned; the configuration takes any width")]
    [Trait("Outcome", "ignored, or reads 0")]
    public void Any_access_to_any_offset_leaves_a_device_that_works(HostileCase @case)
    {
        using HostileGuest hostile = new(@case, start: false);
        Random random = new(3);
        foreach (Action<HostileGuest> state in States)
        {
            foreach (int width in (int[])[1, 2, 3, 4, 8])
            {
                hostile.Guest.Reset();
                state(hostile);
                Access(hostile.Guest.Transport, width, random);
                hostile.Guest.RunUntilIdle();
            }
        }
        hostile.AssertWorksAfterReset();
    }

    private static void Access(VirtioMmioTransport transport, int width, Random random)
    {
        byte[] data = new byte[width];
        for (ulong offset = 0; offset < MmioRegister.Config + 128; offset++)
        {
            data.AsSpan().Fill(0xff);
            transport.Read(offset, data);
            if (offset < MmioRegister.Config && (width != 4 || offset % 4 != 0)) Assert.All(data, value => Assert.Equal(0, value));
            random.NextBytes(data);
            // A status of 0 or one bit more is what changes the most: any other is rarely taken.
            if (offset == MmioRegister.Status && random.Next(2) == 0) data.AsSpan().Clear();
            transport.Write(offset, data);
        }
    }

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "CVE-2021-45464 (kvmtool: configuration accessed beyond its end)")]
    [Trait("Outcome", "reads 0, writes ignored")]
    public void Configuration_beyond_its_end_reads_0_and_takes_nothing(HostileCase @case)
    {
        using HostileGuest hostile = new(@case);
        int length = hostile.Guest.Device.Config.Length;
        byte[] data = new byte[8];
        foreach (ulong beyond in (ulong[])[(ulong)length, (ulong)length + 1, 255, VirtioMmioTransport.Length - MmioRegister.Config - 8, 1UL << 31, 1UL << 32, ulong.MaxValue - MmioRegister.Config - 7])
        {
            if (beyond < (ulong)length) continue;
            ulong offset = unchecked(MmioRegister.Config + beyond);
            data.AsSpan().Fill(0xff);
            hostile.Guest.Transport.Write(offset, data);
            hostile.Guest.Transport.Read(offset, data);
            Assert.All(data, value => Assert.Equal(0, value));
        }
        hostile.Guest.RunUntilIdle();
        hostile.AssertWorks();
    }

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "CVE-2011-2512 (QEMU: virtqueue numbers compared as signed), CVE-2021-45464 (kvmtool: queue index not checked)")]
    [Trait("Outcome", "ignored, counted")]
    public void A_queue_that_does_not_exist_takes_nothing_and_is_not_kicked(HostileCase @case)
    {
        using HostileGuest hostile = new(@case);
        VirtioMmioDriver driver = hostile.Guest.Driver;
        foreach (uint index in (uint[])[(uint)hostile.Guest.Device.Queues.Count, 0x7fff, 0xffff, 0x10000, 0x7fff_ffff, 0x8000_0000, uint.MaxValue])
        {
            long refused = hostile.Guest.Transport.RefusedAccesses;
            driver.Write(MmioRegister.QueueSel, index);
            Assert.Equal(0u, driver.Read(MmioRegister.QueueSizeMax));
            Assert.Equal(0u, driver.Read(MmioRegister.QueueReady));
            foreach (uint register in QueueRegisters) driver.Write(register, 1);
            driver.Write(MmioRegister.QueueReady, 1);
            driver.Write(MmioRegister.QueueReset, 1);
            driver.Write(MmioRegister.QueueNotify, index);
            Assert.Equal(refused + QueueRegisters.Length + 3, hostile.Guest.Transport.RefusedAccesses);
        }
        hostile.Guest.RunUntilIdle();
        hostile.AssertWorks();
    }

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "virtio 1.2 § 4.2.2: selectors of features and memory regions that do not exist, 0xffff among them")]
    [Trait("Outcome", "reads 0 or ones; features refused")]
    public void Selectors_of_what_does_not_exist_select_nothing(HostileCase @case)
    {
        using HostileGuest hostile = new(@case, start: false);
        VirtioMmioDriver driver = hostile.Guest.Driver;
        foreach (uint selector in (uint[])[2, 0x7fff, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, uint.MaxValue])
        {
            driver.Write(MmioRegister.DeviceFeaturesSel, selector);
            Assert.Equal(0u, driver.Read(MmioRegister.DeviceFeatures));
            driver.Write(MmioRegister.ShmSel, selector);
            foreach (uint register in (uint[])[MmioRegister.ShmLenLow, MmioRegister.ShmLenHigh, MmioRegister.ShmBaseLow, MmioRegister.ShmBaseHigh])
                Assert.Equal(uint.MaxValue, driver.Read(register));
            driver.AddStatus(DeviceStatus.Acknowledge);
            driver.AddStatus(DeviceStatus.Driver);
            driver.WriteFeatures(VirtioFeatures.Version1);
            driver.Write(MmioRegister.DriverFeaturesSel, selector);
            driver.Write(MmioRegister.DriverFeatures, 1);
            driver.AddStatus(DeviceStatus.FeaturesOk);
            Assert.False(driver.Status.HasFlag(DeviceStatus.FeaturesOk), $"features of selector {selector} were taken");
            hostile.Guest.Reset();
        }
        hostile.AssertWorksAfterReset();
    }

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "CVE-2026-5747 (Firecracker: queue size and addresses rewritten after the device was activated)")]
    [Trait("Outcome", "ignored, counted")]
    public void A_queue_in_use_keeps_its_size_and_its_place(HostileCase @case)
    {
        using HostileGuest hostile = new(@case);
        VirtioMmioDriver driver = hostile.Guest.Driver;
        long refused = hostile.Guest.Transport.RefusedAccesses;
        for (int queue = 0; queue < hostile.Guest.Device.Queues.Count; queue++)
        {
            driver.Write(MmioRegister.QueueSel, (uint)queue);
            foreach (uint register in QueueRegisters)
            {
                foreach (uint value in (uint[])[0, 1, 0x8000, uint.MaxValue]) driver.Write(register, value);
            }
            // A second "ready" finds it in use as well.
            driver.Write(MmioRegister.QueueReady, 1);
        }
        Assert.Equal(refused + hostile.Guest.Device.Queues.Count * (QueueRegisters.Length * 4 + 1), hostile.Guest.Transport.RefusedAccesses);
        hostile.Guest.RunUntilIdle();
        hostile.AssertWorks();
    }

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "virtio 1.2 § 2.7, § 2.8 and § 4.2.3.2: queue sizes 0, above the maximum, and no power of two")]
    [Trait("Outcome", "ignored, or needs reset")]
    public void A_size_no_queue_may_have_is_refused(HostileCase @case)
    {
        using HostileGuest hostile = new(@case, start: false);
        for (int queue = 0; queue < hostile.Guest.Device.Queues.Count; queue++)
        {
            ushort most = hostile.Guest.Driver.QueueSizeMax(queue);
            foreach (uint size in (uint[])[0, 3, most + 1u, 0x8000, 0xffff, 0x1_0000, uint.MaxValue])
            {
                hostile.Guest.Negotiate();
                SetUp(hostile.Guest, queue, 0x1_0000, 0x2_0000, 0x3_0000, size);
                hostile.Guest.Driver.AddStatus(DeviceStatus.DriverOk);
                hostile.Guest.RunUntilIdle();
                // A packed ring may have any size up to its maximum.
                Assert.Equal(size != 3 || !@case.Packed, hostile.NeedsReset);
                hostile.Guest.Reset();
            }
        }
        hostile.AssertWorksAfterReset();
    }

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "virtio 1.2 § 2.7 and § 2.8: rings outside of memory, on registers, askew, over each other")]
    [Trait("Outcome", "needs reset")]
    public void A_ring_where_none_may_be_asks_for_a_reset(HostileCase @case)
    {
        using HostileGuest hostile = new(@case, start: false);
        foreach ((ulong descriptors, ulong driver, ulong device) in ((ulong, ulong, ulong)[])
        [
            (HostileGuest.MemoryBytes, 0x2_0000, 0x3_0000), (0x1_0000, HostileGuest.MemoryBytes - 2, 0x3_0000), (0x1_0000, 0x2_0000, Registers),
            (Registers, Registers + 0x1000, Registers + 0x2000), (ulong.MaxValue - 15, 0x2_0000, 0x3_0000), (0x1_0000, ulong.MaxValue - 3, 0x3_0000),
            (0x1_0008, 0x2_0000, 0x3_0000), (0x1_0000, 0x2_0001, 0x3_0000), (0x1_0000, 0x2_0000, 0x3_0002),
            (0x1_0000, 0x1_0000, 0x3_0000), (0x1_0000, 0x2_0000, 0x1_0010),
        ])
        {
            for (int queue = 0; queue < hostile.Guest.Device.Queues.Count; queue++)
            {
                hostile.Guest.Negotiate();
                SetUp(hostile.Guest, queue, descriptors, driver, device, 4);
                hostile.Guest.Driver.AddStatus(DeviceStatus.DriverOk);
                hostile.Guest.RunUntilIdle();
                Assert.True(hostile.NeedsReset, $"0x{descriptors:x}, 0x{driver:x}, 0x{device:x}");
                hostile.Guest.Reset();
            }
        }
        hostile.AssertWorksAfterReset();
    }

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "virtio 1.2 § 3.1.1: kicks before DRIVER_OK and after a reset")]
    [Trait("Outcome", "ignored")]
    public void Kicks_of_a_driver_that_is_not_ready_do_nothing(HostileCase @case)
    {
        using HostileGuest hostile = new(@case, start: false);
        KickAll();
        hostile.Guest.Negotiate();
        KickAll();
        hostile.Guest.SetUpQueues();
        KickAll();
        hostile.Guest.Driver.AddStatus(DeviceStatus.Failed);
        hostile.Guest.Driver.AddStatus(DeviceStatus.DriverOk);
        KickAll();
        hostile.Guest.Reset();
        KickAll();
        Assert.Equal(0, hostile.Guest.Device.QueueStatistics.Sum(queue => queue.Requests));
        Assert.False(hostile.Guest.IsInterrupted);
        hostile.AssertWorksAfterReset();

        void KickAll()
        {
            for (int queue = 0; queue < hostile.Guest.Device.Queues.Count; queue++) hostile.Guest.Kick(queue);
            hostile.Guest.RunUntilIdle();
        }
    }

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "virtio 1.2 § 2.1.1, § 2.2.2 and § 3.1.1: status bits out of order, taken back, and features never offered")]
    [Trait("Outcome", "ignored, counted")]
    public void A_status_out_of_order_is_not_taken(HostileCase @case)
    {
        using HostileGuest hostile = new(@case, start: false);
        VirtioMmioDriver driver = hostile.Guest.Driver;
        driver.AddStatus(DeviceStatus.DriverOk | DeviceStatus.FeaturesOk);
        Assert.Equal(DeviceStatus.None, driver.Status);
        driver.AddStatus(DeviceStatus.Acknowledge);
        driver.AddStatus(DeviceStatus.Driver);
        for (int bit = 0; bit < 64; bit++)
        {
            if ((driver.OfferedFeatures & (1UL << bit)) != 0) continue;
            driver.WriteFeatures(VirtioFeatures.Version1 | (1UL << bit));
            driver.AddStatus(DeviceStatus.FeaturesOk);
            Assert.False(driver.Status.HasFlag(DeviceStatus.FeaturesOk), $"feature {bit} was never offered");
        }
        driver.AddStatus(DeviceStatus.DriverOk);
        Assert.Equal(DeviceStatus.Acknowledge | DeviceStatus.Driver, driver.Status);
        hostile.AssertWorksAfterReset();
        DeviceStatus live = driver.Status;
        driver.Write(MmioRegister.Status, (uint)DeviceStatus.Acknowledge);
        driver.Write(MmioRegister.Status, 0x80 | (uint)DeviceStatus.NeedsReset);
        Assert.Equal(live, driver.Status);
        hostile.AssertWorks();
    }

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "guest memory that goes away under a device that runs")]
    [Trait("Outcome", "needs reset")]
    public void Memory_that_goes_away_under_the_rings_asks_for_a_reset(HostileCase @case)
    {
        using HostileGuest hostile = new(@case);
        hostile.Guest.Memory.Remove(0);
        foreach (BatteryRequest request in hostile.Requests) hostile.Serve(request);
        Assert.True(hostile.NeedsReset);
        Assert.True(hostile.Guest.Memory.TryAdd(GuestRegion.Create(0, HostileGuest.MemoryBytes), out _));
        hostile.AssertWorksAfterReset();
    }

    private static void SetUp(SimulatedGuest guest, int queue, ulong descriptors, ulong driver, ulong device, uint size)
    {
        Span<byte> word = stackalloc byte[sizeof(ulong)];
        guest.Driver.Write(MmioRegister.QueueSel, (uint)queue);
        guest.Driver.Write(MmioRegister.QueueSize, size);
        foreach ((uint register, ulong address) in ((uint, ulong)[])[(MmioRegister.QueueDescLow, descriptors), (MmioRegister.QueueDriverLow, driver), (MmioRegister.QueueDeviceLow, device)])
        {
            BinaryPrimitives.WriteUInt64LittleEndian(word, address);
            guest.Transport.Write(register, word[..4]);
            guest.Transport.Write(register + 4, word[4..]);
        }
        guest.Driver.Write(MmioRegister.QueueReady, 1);
    }
}
