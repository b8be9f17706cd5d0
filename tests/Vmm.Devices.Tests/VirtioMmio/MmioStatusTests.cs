using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

public sealed class MmioStatusTests : IDisposable
{
    private const DeviceStatus Found = DeviceStatus.Acknowledge | DeviceStatus.Driver;
    private const DeviceStatus Settled = Found | DeviceStatus.FeaturesOk;
    private const DeviceStatus Live = Settled | DeviceStatus.DriverOk;

    private readonly EchoDevice _device = new();
    private readonly SimulatedGuest _guest;

    public MmioStatusTests() => _guest = SimulatedGuest.For(_device, new SimulatedGuestOptions { Start = false });

    public void Dispose() => _guest.Dispose();

    [Fact]
    public void A_fresh_device_has_status_0_2_1_2() => Assert.Equal(DeviceStatus.None, _guest.Driver.Status);

    [Fact]
    public void The_driver_adds_bits_in_order_3_1_1()
    {
        _guest.Driver.AddStatus(DeviceStatus.Driver);
        _guest.Driver.AddStatus(DeviceStatus.FeaturesOk);
        _guest.Driver.AddStatus(DeviceStatus.DriverOk);
        Assert.Equal(DeviceStatus.None, _guest.Driver.Status);
        Assert.Equal(3, _guest.Transport.RefusedAccesses);

        _guest.Driver.AddStatus(DeviceStatus.Acknowledge);
        _guest.Driver.AddStatus(DeviceStatus.FeaturesOk);
        Assert.Equal(DeviceStatus.Acknowledge, _guest.Driver.Status);
        _guest.Driver.AddStatus(DeviceStatus.Driver);
        _guest.Driver.AddStatus(DeviceStatus.DriverOk);
        Assert.Equal(Found, _guest.Driver.Status);
    }

    [Fact]
    public void The_driver_clears_no_bit_but_by_a_reset_2_1_1()
    {
        _guest.Start();
        _guest.Driver.Write(MmioRegister.Status, (uint)Found);
        _guest.Driver.Write(MmioRegister.Status, (uint)DeviceStatus.Failed);
        Assert.Equal(Live, _guest.Driver.Status);
        Assert.Equal(2, _guest.Transport.RefusedAccesses);
    }

    [Fact]
    public void The_driver_does_not_set_the_bit_of_the_device_2_1_2()
    {
        _guest.Driver.Write(MmioRegister.Status, (uint)(DeviceStatus.Acknowledge | DeviceStatus.NeedsReset) | 0x30);
        Assert.Equal(DeviceStatus.Acknowledge, _guest.Driver.Status);
    }

    [Fact]
    public void Features_that_were_not_offered_are_refused_2_2_2()
    {
        _guest.Driver.AddStatus(DeviceStatus.Acknowledge);
        _guest.Driver.AddStatus(DeviceStatus.Driver);
        _guest.Driver.WriteFeatures(VirtioFeatures.Version1 | 1UL << 5);
        _guest.Driver.AddStatus(DeviceStatus.FeaturesOk);
        Assert.Equal(Found, _guest.Driver.Status);
        // The driver may try another subset.
        _guest.Driver.WriteFeatures(VirtioFeatures.Version1);
        _guest.Driver.AddStatus(DeviceStatus.FeaturesOk);
        Assert.Equal(Settled, _guest.Driver.Status);
    }

    [Fact]
    public void A_driver_without_VERSION_1_is_refused_6_2()
    {
        Negotiate(EchoDevice.OfferedFeature);
        Assert.Equal(Found, _guest.Driver.Status);
    }

    [Fact]
    public void A_subset_the_device_can_not_work_with_is_refused_2_2_2()
    {
        Negotiate(VirtioFeatures.Version1 | EchoDevice.FeatureThatNeedsOffered);
        Assert.Equal(Found, _guest.Driver.Status);
    }

    [Fact]
    public void Features_beyond_64_bits_are_refused_2_2_2()
    {
        _guest.Driver.Write(MmioRegister.DriverFeaturesSel, 2);
        _guest.Driver.Write(MmioRegister.DriverFeatures, 1);
        Negotiate(VirtioFeatures.Version1);
        Assert.Equal(Found, _guest.Driver.Status);
        _guest.Driver.Reset();
        Negotiate(VirtioFeatures.Version1);
        Assert.Equal(Settled, _guest.Driver.Status);
    }

    [Fact]
    public void Features_are_settled_with_FEATURES_OK_3_1_1()
    {
        Negotiate(VirtioFeatures.Version1);
        _guest.Driver.WriteFeatures(VirtioFeatures.Version1 | EchoDevice.OfferedFeature);
        _guest.Driver.AddStatus(DeviceStatus.DriverOk);
        _guest.RunUntilIdle();
        Assert.Equal(VirtioFeatures.Version1, _device.Active!.Features);
        Assert.Equal(2, _guest.Transport.RefusedAccesses);
    }

    [Fact]
    public void FEATURES_OK_and_DRIVER_OK_in_one_write_leave_the_driver_to_read_back_3_1_1()
    {
        _guest.Driver.AddStatus(DeviceStatus.Acknowledge);
        _guest.Driver.AddStatus(DeviceStatus.Driver);
        _guest.Driver.WriteFeatures(VirtioFeatures.Version1);
        _guest.Driver.AddStatus(DeviceStatus.FeaturesOk | DeviceStatus.DriverOk);
        Assert.Equal(Settled, _guest.Driver.Status);
    }

    [Fact]
    public void A_driver_that_failed_has_to_reset_2_1_1()
    {
        Negotiate(VirtioFeatures.Version1);
        _guest.Driver.AddStatus(DeviceStatus.Failed);
        _guest.Driver.AddStatus(DeviceStatus.DriverOk);
        Assert.Equal(Settled | DeviceStatus.Failed, _guest.Driver.Status);
        _guest.Reset().Start();
        Assert.Equal(Live, _guest.Driver.Status);
    }

    [Fact]
    public void The_device_is_activated_on_its_reactor_after_DRIVER_OK_3_1_1()
    {
        Negotiate(VirtioFeatures.Version1);
        _guest.Driver.AddStatus(DeviceStatus.DriverOk);
        Assert.Empty(_device.Log);
        _guest.RunUntilIdle();
        Assert.Equal(["activate"], _device.Log);
    }

    [Fact]
    public void A_reset_takes_effect_only_when_the_device_is_quiet_2_4_1()
    {
        _device.KeepsThroughStop = true;
        _guest.Start();
        DriverRequest request = _guest.Queue(1).Add([[1]]);
        _guest.Kick(1).RunUntilIdle();
        Assert.Equal(1, _device.Kept);

        _guest.Driver.Reset();
        _guest.RunUntilIdle();
        Assert.Equal(Live, _guest.Driver.Status);
        Assert.True(_guest.Driver.IsQueueReady(1));
        Assert.DoesNotContain("reset", _device.Log);

        _device.GiveBack();
        _guest.RunUntilIdle();
        Assert.Equal(DeviceStatus.None, _guest.Driver.Status);
        Assert.Equal("reset", _device.Log[^1]);
        Assert.True(request.IsUsed);
    }

    [Fact]
    public void While_a_reset_is_under_way_the_driver_changes_nothing_2_4_1()
    {
        _device.KeepsThroughStop = true;
        _guest.Start();
        _guest.Queue(1).Add([[1]]);
        _guest.Kick(1).RunUntilIdle();
        _guest.Driver.Reset();
        _guest.RunUntilIdle();

        long refused = _guest.Transport.RefusedAccesses;
        _guest.Driver.Write(MmioRegister.Status, (uint)Live);
        _guest.Driver.WriteFeatures(0);
        _guest.Driver.Write(MmioRegister.QueueSel, 0);
        _guest.Driver.Write(MmioRegister.QueueSize, 8);
        Assert.Equal(refused + 4, _guest.Transport.RefusedAccesses);
        _guest.Driver.Reset();
        _device.GiveBack();
        _guest.RunUntilIdle();
        Assert.Equal(1, _device.Log.Count(what => what == "reset"));
    }

    [Fact]
    public void A_reset_forgets_everything_the_driver_wrote_2_4_1()
    {
        _guest.Start();
        _guest.Queue(0).Add([[1]], [1]);
        _guest.Kick(0);
        _guest.Reset();
        Assert.False(_guest.Driver.IsQueueReady(0));
        Assert.Equal(0u, _guest.Driver.Read(MmioRegister.InterruptStatus));
        Assert.False(_guest.IsInterrupted);
        Assert.Null(_device.Active);
    }

    [Fact]
    public void A_reset_takes_the_selectors_back_2_4_1()
    {
        ulong offered = _guest.Driver.OfferedFeatures;
        _guest.Driver.Write(MmioRegister.QueueSel, 99);
        _guest.Driver.Write(MmioRegister.DeviceFeaturesSel, 1);
        _guest.Driver.Write(MmioRegister.DriverFeaturesSel, 2);
        _guest.Driver.Reset();
        Assert.NotEqual(0u, _guest.Driver.Read(MmioRegister.QueueSizeMax));
        Assert.Equal((uint)offered, _guest.Driver.Read(MmioRegister.DeviceFeatures));
        // Into the first half: what is written beyond 64 bits would have FEATURES_OK refused.
        _guest.Driver.Write(MmioRegister.DriverFeatures, (uint)offered);
        Negotiate(offered);
        Assert.Equal(Settled, _guest.Driver.Status);
    }

    [Theory]
    [InlineData(true, 1u, true)]
    [InlineData(true, 2u, false)]
    [InlineData(false, 1u, false)]
    public void A_queue_is_reset_by_a_1_and_only_where_that_was_negotiated_2_6_1(bool isNegotiated, uint value, bool isReset)
    {
        using SimulatedGuest guest = SimulatedGuest.For(new EchoDevice(), new SimulatedGuestOptions
        {
            Transport = new VirtioMmioOptions { CommonFeatures = isNegotiated ? VirtioFeatures.RingReset : 0 },
        });
        guest.Driver.Write(MmioRegister.QueueSel, 0);
        guest.Driver.Write(MmioRegister.QueueReset, value);
        guest.RunUntilIdle();
        Assert.Equal(isReset, !guest.Driver.IsQueueReady(0));
        Assert.Equal(isReset ? 0 : 1, guest.Transport.RefusedAccesses);
    }

    [Fact]
    public void The_driver_comes_back_after_a_reset_3_1_1()
    {
        for (int i = 0; i < 3; i++)
        {
            _guest.Start();
            DriverRequest request = _guest.Queue(0).Add([[7, 8]], [2]);
            _guest.Kick(0).RunUntilIdle();
            Assert.Equal([7, 8], request.Written);
            _guest.Reset();
        }
        Assert.Equal(3, _device.Log.Count(what => what == "activate"));
        Assert.Equal(3, _device.Log.Count(what => what == "reset"));
    }

    [Fact]
    public void A_reset_before_DRIVER_OK_is_done_at_once_and_not_the_devices_business_2_4_1()
    {
        Negotiate(VirtioFeatures.Version1);
        _guest.Driver.Reset();
        Assert.Equal(DeviceStatus.None, _guest.Driver.Status);
        _guest.RunUntilIdle();
        Assert.Empty(_device.Log);
    }

    [Fact]
    public void A_reset_right_after_DRIVER_OK_finds_the_device_active_and_stops_it_2_4_1()
    {
        Negotiate(VirtioFeatures.Version1);
        _guest.Driver.AddStatus(DeviceStatus.DriverOk);
        _guest.Driver.Reset();
        Assert.NotEqual(DeviceStatus.None, _guest.Driver.Status);
        _guest.RunUntilIdle();
        Assert.Equal(["activate", "reset"], _device.Log);
        Assert.Equal(DeviceStatus.None, _guest.Driver.Status);
    }

    [Fact]
    public void A_broken_ring_needs_a_reset_and_says_so_by_a_configuration_interrupt_2_1_2()
    {
        _guest.Start();
        _guest.Queue(0).Add([new GuestBuffer(ulong.MaxValue - 4, 16)], []);
        _guest.Kick(0).RunUntilIdle();
        Assert.Equal(Live | DeviceStatus.NeedsReset, _guest.Driver.Status);
        Assert.Equal(1, _guest.ConfigInterrupts);
        Assert.Equal(1, _device.GuestFaults);
        // A driver that has not seen it yet may write the status without the bit; it stays.
        _guest.Driver.Write(MmioRegister.Status, (uint)Live);
        Assert.Equal(Live | DeviceStatus.NeedsReset, _guest.Driver.Status);
        _guest.Reset().Start();
        Assert.Equal(Live, _guest.Driver.Status);
    }

    [Fact]
    public void A_queue_outside_of_memory_needs_a_reset_2_7()
    {
        Negotiate(VirtioFeatures.Version1);
        _guest.Driver.SetUpQueue(0, new QueueConfiguration { Index = 0, Size = 16, DescriptorTable = 1UL << 40, DriverRing = 1UL << 41, DeviceRing = 1UL << 42 });
        _guest.Driver.AddStatus(DeviceStatus.DriverOk);
        _guest.RunUntilIdle();
        Assert.True(_guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
        Assert.Equal(["activate"], _device.Log);
    }

    [Fact]
    public void A_device_that_throws_needs_a_reset_and_its_reactor_hears_of_the_bug()
    {
        _guest.Start();
        _device.ThrowsWhenKicked = true;
        _guest.Queue(0).Add([[1]], [1]);
        _guest.Kick(0);
        Assert.Throws<InvalidOperationException>(() => _guest.RunUntilIdle());
        Assert.True(_guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
    }

    [Fact]
    public void A_configuration_change_interrupts_a_live_driver_only_2_3()
    {
        Negotiate(VirtioFeatures.Version1);
        _device.Grow();
        Assert.Equal(0, _guest.ConfigInterrupts);
        _guest.Driver.AddStatus(DeviceStatus.DriverOk);
        _guest.RunUntilIdle();
        _device.Grow();
        Assert.Equal(1, _guest.ConfigInterrupts);
        Assert.Equal(VirtioMmioDriver.ConfigInterrupt, _guest.Driver.TakeInterrupts());
        Assert.False(_guest.IsInterrupted);
    }

    [Fact]
    public void The_line_stays_up_until_every_reason_is_acknowledged_4_2_3_4()
    {
        _guest.Start();
        _device.Grow();
        _guest.Transport.SignalQueue(0);
        Assert.Equal(3u, _guest.Driver.Read(MmioRegister.InterruptStatus));
        _guest.Driver.Write(MmioRegister.InterruptAck, VirtioMmioDriver.UsedBuffersInterrupt);
        Assert.True(_guest.IsInterrupted);
        _guest.Driver.Write(MmioRegister.InterruptAck, VirtioMmioDriver.ConfigInterrupt);
        Assert.False(_guest.IsInterrupted);
    }

    [Fact]
    public void A_kick_may_carry_how_far_the_driver_got_2_9()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new EchoDevice(), new SimulatedGuestOptions
        {
            Transport = new VirtioMmioOptions { CommonFeatures = VirtioFeatures.NotificationData },
        });
        DriverRequest request = guest.Queue(0).Add([[5]], [1]);
        guest.Driver.Write(MmioRegister.QueueNotify, 0x0001_0000);
        guest.RunUntilIdle();
        Assert.Equal([5], request.Written);

        guest.Reset();
        guest.Driver.Write(MmioRegister.QueueNotify, 0x0001_0000);
        Assert.Equal(1, guest.Transport.RefusedAccesses);
    }

    private void Negotiate(ulong features)
    {
        _guest.Driver.AddStatus(DeviceStatus.Acknowledge);
        _guest.Driver.AddStatus(DeviceStatus.Driver);
        _guest.Driver.WriteFeatures(features);
        _guest.Driver.AddStatus(DeviceStatus.FeaturesOk);
    }
}
