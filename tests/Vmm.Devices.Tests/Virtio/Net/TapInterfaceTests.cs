using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>A TAP of the host. What goes through it as a network, ping and bulk, is with the end-to-end tests.</summary>
[Collection(Alone.Name)]
public sealed class TapInterfaceTests
{
    // SOL_SOCKET and SO_BINDTODEVICE of socket(7).
    private const int SocketLevel = 1, BindToDevice = 25;

    [Fact]
    public void A_tap_takes_offloads_and_a_guest_hears_the_host_on_it()
    {
        SkipWithoutPrivilege();
        string name = NewName();
        TapInterface tap = TapInterface.Open(name);
        Assert.True(tap.Offloads.HasFlag(NetOffloads.Checksum | NetOffloads.Tso4 | NetOffloads.Tso6));
        using SimulatedGuest guest = SimulatedGuest.For(new NetDevice("net0", tap));
        DriverRequest received = guest.Queue(0).Add(writable: [70_000]);
        guest.Kick(0).RunUntilIdle();
        Ip($"link set {name} up");
        using Socket host = new(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp) { EnableBroadcast = true };
        host.SetRawSocketOption(SocketLevel, BindToDevice, Encoding.ASCII.GetBytes(name));
        host.SendTo("to everybody"u8, new IPEndPoint(IPAddress.Broadcast, 9));
        guest.RunUntil(() => received.IsUsed);
        // This, or what the host's IPv6 says on every interface that comes up: to several stations, behind a header.
        Assert.InRange(received.UsedLength, 12u + 14, 70_000u);
        Assert.Equal([1, 0], received.Written[10..12]);
        Assert.Equal(1, received.Written[12] & 1);
    }

    [Fact]
    public void Headers_of_nonsense_are_dropped_and_the_device_goes_on()
    {
        SkipWithoutPrivilege();
        string name = NewName();
        NetDevice device = new("net0", TapInterface.Open(name));
        using SimulatedGuest guest = SimulatedGuest.For(device);
        Ip($"link set {name} up");
        Random random = new(7);
        for (int i = 0; i < 500; i++)
        {
            byte[] packet = NetCable.Packet(NetCable.Frame(14 + random.Next(200), i));
            random.NextBytes(packet.AsSpan(0, 10));
            DriverRequest request = guest.Queue(1).Add([packet]);
            guest.Kick(1).RunUntil(() => request.IsUsed);
            guest.Queue(1).Free(request);
        }
        Assert.Equal(0, device.GuestFaults);
        Assert.Equal(500, device.Statistics.Sent + device.Statistics.SendDropped);
        DriverRequest good = guest.Queue(1).Add([NetCable.Packet(NetCable.Frame(60))]);
        long sent = device.Statistics.Sent;
        guest.Kick(1).RunUntil(() => good.IsUsed);
        Assert.Equal(sent + 1, device.Statistics.Sent);
    }

    [Fact]
    public void Frames_to_a_tap_that_is_down_are_counted_against_the_host()
    {
        SkipWithoutPrivilege();
        NetDevice device = new("net0", TapInterface.Open(NewName()));
        using SimulatedGuest guest = SimulatedGuest.For(device);
        DriverRequest request = guest.Queue(1).Add([NetCable.Packet(NetCable.Frame(60))]);
        guest.Kick(1).RunUntil(() => request.IsUsed);
        Assert.Equal((0, 1), (device.GuestFaults, device.HostFaults));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void A_tap_that_is_deleted_and_made_again_carries_frames_again(int queues)
    {
        SkipWithoutPrivilege();
        string name = NewName();
        string kind = queues == 1 ? "" : " multi_queue";
        Ip($"tuntap add {name} mode tap{kind}");
        ManualClock clock = new();
        NetDevice device = new("net0", TapInterface.Open(name, queues), new NetSpec { QueuePairs = queues });
        using SimulatedGuest guest = SimulatedGuest.For(device, new SimulatedGuestOptions { Clock = clock });
        if (queues > 1) Assert.Equal(0, NetCable.Command(guest, [4, 0, (byte)queues, 0], queue: 2 * queues));
        Ip($"link set {name} up");
        SendFrame(guest);
        Assert.Equal(1, device.Statistics.Sent);
        // More than the host's IPv6 says on an interface that comes up: a receiver without buffers looks at nothing.
        for (int i = 0; i < 100; i++) guest.Queue(0).Add(writable: [2000]);
        guest.Kick(0).RunUntilIdle();
        Ip($"link del {name}");
        guest.RunUntil(() => device.HostFaults > 0);
        SendFrame(guest);
        Assert.Equal(1, device.Statistics.SendDropped);
        // A device that made it again would be in the way of the administrator.
        clock.Advance(RetryTimer.First);
        guest.RunUntilIdle();
        Ip($"tuntap add {name} mode tap{kind}");
        Ip($"link set {name} up");
        try
        {
            guest.RunUntil(() =>
            {
                clock.Advance(RetryTimer.First);
                SendFrame(guest);
                return device.Statistics.Sent > 1;
            });
            for (int pair = 1; pair < queues; pair++) guest.Queue(2 * pair).Add(writable: [2000]);
            // Frames of the host's IPv6, or these.
            using Socket host = new(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp) { EnableBroadcast = true };
            host.SetRawSocketOption(SocketLevel, BindToDevice, Encoding.ASCII.GetBytes(name));
            guest.RunUntil(() =>
            {
                host.SendTo("to everybody"u8, new IPEndPoint(IPAddress.Broadcast, 9));
                return device.Statistics.Received > 0;
            });
        }
        finally
        {
            Ip($"link del {name}");
        }
    }

    private static void SendFrame(SimulatedGuest guest)
    {
        DriverRequest request = guest.Queue(1).Add([NetCable.Packet(NetCable.Frame(60))]);
        guest.Kick(1).RunUntil(() => request.IsUsed);
        guest.Queue(1).Free(request);
    }

    [Fact]
    public void Several_queues_take_part_as_the_driver_says()
    {
        SkipWithoutPrivilege();
        using SimulatedGuest guest = SimulatedGuest.For(new NetDevice("net0", TapInterface.Open(NewName(), queues: 4), new NetSpec { QueuePairs = 4 }));
        Assert.Equal(0, NetCable.Command(guest, [4, 0, 4, 0], queue: 8));
        Assert.Equal(0, NetCable.Command(guest, [4, 0, 1, 0], queue: 8));
        guest.Reset().Start();
        Assert.Equal(0, NetCable.Command(guest, [4, 0, 3, 0], queue: 8));
    }

    [Theory]
    [InlineData("a-name-far-too-long", "at most 15 bytes")]
    [InlineData("lo", "no TAP")]
    public void What_is_no_tap_is_refused_in_a_sentence(string name, string sentence)
    {
        SkipWithoutPrivilege();
        NetworkException refused = Assert.Throws<NetworkException>(() => TapInterface.Open(name));
        Assert.Contains(sentence, refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_tap_that_is_taken_is_refused_in_a_sentence()
    {
        SkipWithoutPrivilege();
        string name = NewName();
        using TapInterface first = TapInterface.Open(name);
        Assert.Contains("in use", Assert.Throws<NetworkException>(() => TapInterface.Open(name)).Message, StringComparison.Ordinal);
        Assert.Contains("multi_queue", Assert.Throws<NetworkException>(() => TapInterface.Open(name, queues: 2)).Message, StringComparison.Ordinal);
    }

    /// <summary>They go when the device is disposed.</summary>
    private static string NewName() => $"vmt{Guid.NewGuid():n}"[..12];

    private static void SkipWithoutPrivilege() =>
        Assert.SkipUnless(Environment.IsPrivilegedProcess && File.Exists("/dev/net/tun"), "making a TAP needs root and /dev/net/tun");

    private static void Ip(string arguments)
    {
        using Process ip = Process.Start(new ProcessStartInfo("ip", arguments.Split(' ')))!;
        ip.WaitForExit();
        Assert.Equal(0, ip.ExitCode);
    }
}
