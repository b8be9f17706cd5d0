using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>The control queue (virtio 1.2 § 5.1.6.5), and what it does to frames.</summary>
public sealed class NetControlTests
{
    private const string Mine = "02:00:00:00:00:01";
    private const string Other = "02:00:00:00:00:02";
    private const string Group = "01:00:5e:00:00:05";
    private const string Everybody = "ff:ff:ff:ff:ff:ff";

    private static readonly byte[] OwnOnly = [0, 0, 0];

    [Fact]
    public void A_driver_that_says_nothing_gets_everything() => Assert.Equal([Mine, Other, Group, Everybody], Accepted());

    [Fact]
    public void Promiscuous_off_leaves_its_own_frames_and_those_for_everybody() => Assert.Equal([Mine, Everybody], Accepted(OwnOnly));

    [Fact]
    public void All_multicast_adds_groups() => Assert.Equal([Mine, Group, Everybody], Accepted(OwnOnly, [0, 1, 1]));

    [Fact]
    public void All_unicast_adds_strangers() => Assert.Equal([Mine, Other, Everybody], Accepted(OwnOnly, [0, 2, 1]));

    [Fact]
    public void No_multicast_no_unicast_and_no_broadcast_take_away()
    {
        Assert.Equal([Mine, Everybody], Accepted(OwnOnly, [0, 1, 1], [0, 3, 1]));
        Assert.Equal([Everybody], Accepted(OwnOnly, [0, 4, 1]));
        Assert.Equal([Mine], Accepted(OwnOnly, [0, 5, 1]));
    }

    [Fact]
    public void Tables_name_further_stations_and_groups()
    {
        Assert.Equal([Mine, Other, Everybody], Accepted(OwnOnly, [1, 0, .. Table(Other), .. Table()]));
        Assert.Equal([Mine, Group, Everybody], Accepted(OwnOnly, [1, 0, .. Table(), .. Table(Group)]));
    }

    [Fact]
    public void A_table_longer_than_what_is_kept_lets_all_of_its_kind_through() =>
        Assert.Equal([Mine, Group, Everybody], Accepted(OwnOnly, [1, 0, .. Table(), .. Table([.. Enumerable.Repeat("01:00:5e:00:00:77", 65)])]));

    [Fact]
    public void Another_address_replaces_the_first()
    {
        Assert.Equal([Other, Everybody], Accepted(OwnOnly, [1, 1, .. Bytes(Other)]));
        using NetCable cable = new();
        using SimulatedGuest guest = Guest(cable);
        Assert.Equal(0, NetCable.Command(guest, [1, 1, .. Bytes(Other)]));
        Assert.Equal(2, guest.Driver.ReadConfig<byte>(5));
        guest.Reset().Start();
        Assert.Equal(1, guest.Driver.ReadConfig<byte>(5));
    }

    [Fact]
    public void Frames_of_a_vlan_come_once_it_was_added_and_until_it_is_removed_5_1_6_5_3()
    {
        using NetCable cable = new();
        using SimulatedGuest guest = Guest(cable);
        Assert.Equal(0, NetCable.Command(guest, OwnOnly));
        Assert.False(Comes(NetCable.Tagged(100, Mine)));
        Assert.Equal(0, NetCable.Command(guest, [2, 0, 100, 0]));
        Assert.True(Comes(NetCable.Tagged(100, Mine)));
        Assert.False(Comes(NetCable.Tagged(101, Mine)));
        Assert.Equal(0, NetCable.Command(guest, [2, 1, 100, 0]));
        Assert.False(Comes(NetCable.Tagged(100, Mine)));
        Assert.True(Comes(NetCable.Frame(60, to: Mine)));
        Assert.Equal(1, NetCable.Command(guest, [2, 0, 0, 16]));

        bool Comes(byte[] frame) => NetControlTests.Comes(cable, guest, frame);
    }

    [Theory]
    [InlineData(new byte[0])]
    [InlineData(new byte[] { 0 })]
    [InlineData(new byte[] { 0, 0 })]
    [InlineData(new byte[] { 0, 0, 2 })]
    [InlineData(new byte[] { 0, 6, 1 })]
    [InlineData(new byte[] { 1, 0 })]
    [InlineData(new byte[] { 1, 0, 255, 255, 255, 255 })]
    [InlineData(new byte[] { 1, 0, 1, 0, 0, 0, 1, 2, 3, 4, 5, 6 })]
    [InlineData(new byte[] { 1, 1, 1, 2, 3 })]
    [InlineData(new byte[] { 2, 2, 1, 0 })]
    [InlineData(new byte[] { 3, 1 })]
    [InlineData(new byte[] { 4, 0, 1, 0 })]
    [InlineData(new byte[] { 5, 0, 1, 0, 0, 0, 0, 0, 0, 0 })]
    [InlineData(new byte[] { 99, 99, 99 })]
    public void A_command_that_makes_no_sense_is_answered_with_an_error_and_changes_nothing(byte[] command)
    {
        using NetCable cable = new();
        using SimulatedGuest guest = Guest(cable);
        if (command.Length == 0)
        {
            DriverRequest request = guest.Queue(2).Add(writable: [1]);
            guest.Kick(2).RunUntilIdle();
            Assert.Equal(1, request.Content[0]);
        }
        else
        {
            Assert.Equal(1, NetCable.Command(guest, command));
        }
        Assert.True(Comes(cable, guest, NetCable.Frame(60, to: Other)));
        Assert.Equal(0, NetCable.Command(guest, OwnOnly));
    }

    [Fact]
    public void A_command_without_room_for_its_answer_is_the_drivers_fault()
    {
        using NetCable cable = new();
        using SimulatedGuest guest = Guest(cable);
        guest.Queue(2).Add([OwnOnly], []);
        guest.Kick(2).RunUntilIdle();
        Assert.True(guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
    }

    [Fact]
    public void The_driver_takes_as_many_pairs_as_there_are_5_1_6_5_5()
    {
        CountingNetwork network = new(pairs: 3);
        using SimulatedGuest guest = SimulatedGuest.For(new NetDevice("net0", network, new NetSpec { QueuePairs = 3 }));
        Assert.Equal(3, guest.Driver.ReadConfig<ushort>(8));
        Assert.Equal([true, false, false], network.Active);
        Assert.Equal(0, NetCable.Command(guest, [4, 0, 2, 0], queue: 6));
        Assert.Equal([true, true, false], network.Active);
        Assert.Equal(1, NetCable.Command(guest, [4, 0, 0, 0], queue: 6));
        Assert.Equal(1, NetCable.Command(guest, [4, 0, 4, 0], queue: 6));
        Assert.Equal([true, true, false], network.Active);
        guest.Reset();
        Assert.Equal([false, false, false], network.Active);
    }

    [Fact]
    public void Without_MQ_the_control_queue_is_the_third_5_1_2()
    {
        CountingNetwork network = new(pairs: 3);
        using SimulatedGuest guest = SimulatedGuest.For(new NetDevice("net0", network, new NetSpec { QueuePairs = 3 }),
            new SimulatedGuestOptions { Features = ~NetProtocol.FeatureMultiQueue });
        Assert.Equal(0, NetCable.Command(guest, OwnOnly, queue: 2));
    }

    [Fact]
    public void Without_a_control_queue_the_pairs_that_run_are_those_that_count()
    {
        CountingNetwork network = new(pairs: 2);
        using SimulatedGuest guest = SimulatedGuest.For(new NetDevice("net0", network, new NetSpec { QueuePairs = 2, HasControlQueue = false }));
        Assert.Equal([true, true], network.Active);
        guest.Driver.ResetQueue(2);
        guest.RunUntil(() => !guest.Driver.IsQueueReady(2));
        Assert.Equal([true, false], network.Active);
    }

    [Fact]
    public void Offloads_are_switched_within_what_was_negotiated_5_1_6_5_6()
    {
        CountingNetwork network = new(pairs: 1) { Offloads = NetOffloads.Checksum | NetOffloads.Tso4 };
        using SimulatedGuest guest = SimulatedGuest.For(new NetDevice("net0", network));
        Assert.Equal(NetOffloads.Checksum | NetOffloads.Tso4, network.ToGuest);
        Assert.Equal(0, NetCable.Command(guest, [5, 0, 2, 0, 0, 0, 0, 0, 0, 0]));
        Assert.Equal(NetOffloads.Checksum, network.ToGuest);
        Assert.Equal(1, NetCable.Command(guest, [5, 0, 0x82, 1, 0, 0, 0, 0, 0, 0]));
        Assert.Equal(NetOffloads.Checksum, network.ToGuest);
    }

    [Fact]
    public void The_guest_is_asked_to_announce_itself_until_it_has_5_1_6_5_4()
    {
        using NetCable cable = new();
        NetDevice device = new("net0", cable.Device);
        using SimulatedGuest guest = SimulatedGuest.For(device);
        device.Announce();
        guest.RunUntilIdle();
        Assert.Equal((3, 1), (guest.Driver.ReadConfig<ushort>(6), guest.ConfigInterrupts));
        Assert.Equal(0, NetCable.Command(guest, [3, 0]));
        Assert.Equal(1, guest.Driver.ReadConfig<ushort>(6));
    }

    [Theory]
    [InlineData(NetProtocol.FeatureGuestTso4)]
    [InlineData(NetProtocol.FeatureHostTso6)]
    [InlineData(NetProtocol.FeatureHostUso)]
    [InlineData(NetProtocol.FeatureGuestChecksum | NetProtocol.FeatureGuestEcn)]
    public void An_offload_without_what_it_needs_is_refused_5_1_3_1(ulong features)
    {
        CountingNetwork network = new(pairs: 1) { Offloads = (NetOffloads)0x7f };
        Assert.Throws<InvalidOperationException>(() => SimulatedGuest.For(new NetDevice("net0", network), new SimulatedGuestOptions { Features = features }));
    }

    [Fact]
    public void What_the_configuration_says()
    {
        using NetCable cable = new();
        Assert.True(MacAddress.TryParse(Mine, out MacAddress mac));
        using SimulatedGuest guest = SimulatedGuest.For(new NetDevice("net0", cable.Device, new NetSpec { Mac = mac, Mtu = 9000, SpeedMbps = 25_000 }));
        Assert.Equal((2, 1), (guest.Driver.ReadConfig<byte>(0), guest.Driver.ReadConfig<byte>(5)));
        Assert.Equal((9000, 25_000u, 1), (guest.Driver.ReadConfig<ushort>(10), guest.Driver.ReadConfig<uint>(12), guest.Driver.ReadConfig<byte>(16)));
    }

    private static string[] Accepted(params byte[][] commands)
    {
        using NetCable cable = new();
        using SimulatedGuest guest = Guest(cable);
        foreach (byte[] command in commands) Assert.Equal(0, NetCable.Command(guest, command));
        return [.. ((string[])[Mine, Other, Group, Everybody]).Where(address => Comes(cable, guest, NetCable.Frame(60, to: address)))];
    }

    private static bool Comes(NetCable cable, SimulatedGuest guest, byte[] frame)
    {
        SimulatedQueue queue = guest.Queue(0);
        queue.Add(writable: [1526]);
        guest.Kick(0).RunUntilIdle();
        int waiting = queue.InFlight;
        cable.TrySend(frame);
        guest.RunUntilIdle();
        return queue.InFlight < waiting;
    }

    private static SimulatedGuest Guest(NetCable cable)
    {
        Assert.True(MacAddress.TryParse(Mine, out MacAddress mac));
        return SimulatedGuest.For(new NetDevice("net0", cable.Device, new NetSpec { Mac = mac }));
    }

    private static byte[] Table(params string[] addresses) => [(byte)addresses.Length, 0, 0, 0, .. addresses.SelectMany(Bytes)];

    private static byte[] Bytes(string address)
    {
        Assert.True(MacAddress.TryParse(address, out MacAddress mac));
        byte[] bytes = new byte[6];
        mac.CopyTo(bytes);
        return bytes;
    }
}
