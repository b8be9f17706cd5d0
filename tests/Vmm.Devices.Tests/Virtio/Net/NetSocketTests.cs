using System.Buffers.Binary;
using System.Net.Sockets;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>A cable that is a stream, each frame behind its length in 4 bytes, highest first.</summary>
public sealed class NetSocketTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-net-").FullName;

    private string Path => System.IO.Path.Combine(_directory, "cable");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void The_first_to_come_listens_and_the_second_connects()
    {
        using SimulatedGuest one = SimulatedGuest.For(new NetDevice("net0", NetSocket.Open(Path)));
        using SimulatedGuest two = SimulatedGuest.For(new NetDevice("net1", NetSocket.Open(Path)));
        one.RunUntilIdle();
        foreach ((SimulatedGuest from, SimulatedGuest to) in ((SimulatedGuest, SimulatedGuest)[])[(one, two), (two, one)])
        {
            for (int i = 0; i < 300; i++)
            {
                byte[] frame = NetCable.Frame(60 + (i * 7), i);
                DriverRequest received = to.Queue(0).Add(writable: [1000, 8000]);
                DriverRequest sent = from.Queue(1).Add([NetCable.Packet(frame)]);
                to.Kick(0).RunUntilIdle();
                from.Kick(1).RunUntil(() => sent.IsUsed);
                to.RunUntil(() => received.IsUsed);
                Assert.Equal(frame, received.Written[12..]);
                to.Queue(0).Free(received);
                from.Queue(1).Free(sent);
            }
        }
    }

    [Fact]
    public void A_file_that_is_no_socket_is_refused_and_stays_as_it_is()
    {
        File.WriteAllText(Path, "a disk image, say");
        NetworkException refused = Assert.Throws<NetworkException>(() => NetSocket.Open(Path));
        Assert.Contains("it is no socket", refused.Message, StringComparison.Ordinal);
        Assert.Equal("a disk image, say", File.ReadAllText(Path));
    }

    [Fact]
    public void A_cable_that_ends_leaves_the_socket_of_the_process_that_took_its_path()
    {
        NetSocket first = NetSocket.Open(Path);
        File.Delete(Path);
        using NetSocket second = NetSocket.Open(Path);
        first.Dispose();
        Assert.True(File.Exists(Path));
    }

    [Fact]
    public void A_path_longer_than_a_socket_address_is_refused_with_its_length()
    {
        NetworkException refused = Assert.Throws<NetworkException>(() => NetSocket.Open($"/tmp/{new string('x', 120)}"));
        Assert.Contains("has 125 bytes", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_stream_cut_anywhere_gives_whole_frames()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new NetDevice("net0", NetSocket.Open(Path)));
        using Socket peer = Connect();
        byte[] stream = [.. Enumerable.Range(0, 6).SelectMany(i => OnStream(NetCable.Frame(20 + i, i)))];
        for (int cut = 1; cut < stream.Length; cut += 5)
        {
            DriverRequest[] requests = [.. Enumerable.Range(0, 6).Select(_ => guest.Queue(0).Add(writable: [100]))];
            guest.Kick(0).RunUntilIdle();
            peer.Send(stream.AsSpan(0, cut));
            guest.RunUntilIdle();
            peer.Send(stream.AsSpan(cut));
            guest.RunUntil(() => requests[5].IsUsed);
            for (int i = 0; i < 6; i++)
            {
                Assert.Equal(NetCable.Frame(20 + i, i), requests[i].Written[12..]);
                guest.Queue(0).Free(requests[i]);
            }
        }
    }

    [Fact]
    public void A_peer_that_does_not_read_holds_the_guest_and_gets_every_byte()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new NetDevice("net0", NetSocket.Open(Path)));
        using Socket peer = Connect();
        guest.RunUntilIdle();
        DriverRequest[] requests = [.. Enumerable.Range(0, 100).Select(i => guest.Queue(1).Add([NetCable.Packet(NetCable.Frame(30_001, i))]))];
        guest.Kick(1).RunUntilIdle();
        Assert.False(requests[^1].IsUsed);
        MemoryStream got = new();
        byte[] buffer = new byte[50_000];
        peer.Blocking = false;
        guest.RunUntil(() =>
        {
            while (peer.Poll(0, SelectMode.SelectRead)) got.Write(buffer, 0, peer.Receive(buffer));
            return got.Length == 100 * 30_005;
        });
        Assert.Equal(Enumerable.Range(0, 100).SelectMany(i => OnStream(NetCable.Frame(30_001, i))).ToArray(), got.ToArray());
        guest.RunUntil(() => requests.All(request => request.IsUsed));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Frames_that_wait_in_the_card_come_to_its_driver_in_another_process(bool merges)
    {
        // One waits for buffers, if it can be in several, and the others were read with it.
        using SimulatedGuest guest = SimulatedGuest.For(new NetDevice("net0", NetSocket.Open(Path)),
            new SimulatedGuestOptions { Features = merges ? ulong.MaxValue : ~NetProtocol.FeatureMergeReceive });
        byte[][] frames = [NetCable.Frame(300, 1), NetCable.Frame(80, 2), NetCable.Frame(90, 3), NetCable.Frame(100, 4)];
        DriverRequest first = guest.Queue(0).Add(writable: [200]);
        guest.Kick(0).RunUntilIdle();
        using (Socket peer = Connect())
        {
            // What is not whole is the peer's to send again.
            peer.Send([.. merges ? [] : OnStream(NetCable.Frame(60)), .. frames.SelectMany(OnStream), 0, 0, 0, 60, 1]);
            guest.RunUntilIdle();
            Assert.Equal(!merges, first.IsUsed);
            guest.GoOnIn(() => new NetDevice("net0", NetSocket.Open(Path + "2")));
            guest.GoOnIn(() => new NetDevice("net0", NetSocket.Open(Path + "3")));
        }
        List<DriverRequest> requests = merges ? [first] : [];
        for (int i = 0; i < 5; i++) requests.Add(guest.Queue(0).Add(writable: [merges ? 200 : 400]));
        guest.Kick(0).RunUntilIdle();
        List<byte[]> got = [.. requests.Where(request => request.IsUsed).Select(request => request.Written)];
        if (merges) got = [[.. got[0], .. got[1]], .. got[2..]];
        Assert.Equal(frames, got.Select(frame => frame[12..]));
        Assert.Equal(0, guest.Device.GuestFaults);
    }

    [Fact]
    public void The_next_peer_comes_when_the_one_before_has_gone()
    {
        NetSocket cable = NetSocket.Open(Path);
        NetDevice net = new("net0", cable);
        using SimulatedGuest guest = SimulatedGuest.For(net);
        for (int round = 0; round < 3; round++)
        {
            using Socket peer = Connect(), next = Connect();
            guest.RunUntilIdle();
            Assert.True(cable.IsConnected);
            foreach (Socket each in (Socket[])[peer, next])
            {
                DriverRequest request = guest.Queue(0).Add(writable: [100]);
                guest.Kick(0).RunUntilIdle();
                // Half a frame of it goes with whoever began it.
                each.Send([.. OnStream(NetCable.Frame(60, round)), 0, 0, 0, 60, 1, 2, 3]);
                guest.RunUntil(() => request.IsUsed);
                Assert.Equal(NetCable.Frame(60, round), request.Written[12..]);
                each.Dispose();
                guest.RunUntilIdle();
            }
            long dropped = net.Statistics.SendDropped;
            DriverRequest nowhere = guest.Queue(1).Add([NetCable.Packet(NetCable.Frame(60))]);
            guest.Kick(1).RunUntil(() => nowhere.IsUsed);
            Assert.Equal(dropped + 1, net.Statistics.SendDropped);
        }
        Assert.Equal((0, 0), (net.GuestFaults, net.HostFaults));
    }

    [Fact]
    public void A_peer_that_comes_back_is_connected_to_again()
    {
        ManualClock clock = new();
        Socket listener = Listen();
        NetSocket cable = NetSocket.Open(Path);
        NetDevice net = new("net0", cable);
        using SimulatedGuest guest = SimulatedGuest.For(net, new SimulatedGuestOptions { Clock = clock });
        Socket peer = listener.Accept();
        DriverRequest buffer = AddBuffer(guest);
        for (int round = 0; round < 3; round++)
        {
            buffer = Exchange(guest, peer, buffer, round);
            peer.Dispose();
            listener.Dispose();
            File.Delete(Path);
            guest.RunUntil(() => !cable.IsConnected);

            (long sent, long dropped) = (net.Statistics.Sent, net.Statistics.SendDropped);
            DriverRequest nowhere = guest.Queue(1).Add([NetCable.Packet(NetCable.Frame(60))]);
            guest.Kick(1).RunUntil(() => nowhere.IsUsed);
            Assert.Equal((sent, dropped + 1), (net.Statistics.Sent, net.Statistics.SendDropped));
            clock.Advance(RetryTimer.First);
            guest.RunUntilIdle();
            Assert.False(cable.IsConnected);

            listener = Listen();
            clock.Advance(2 * RetryTimer.First);
            guest.RunUntil(() => cable.IsConnected);
            peer = listener.Accept();
        }
        Exchange(guest, peer, buffer, 3);
        Assert.Equal((0, 0), (net.GuestFaults, net.HostFaults));
        peer.Dispose();
        listener.Dispose();
        File.Delete(Path);
    }

    [Fact]
    public void A_peer_that_stays_away_is_looked_for_ever_less_often()
    {
        ManualClock clock = new();
        Socket listener = Listen();
        NetSocket cable = NetSocket.Open(Path);
        using SimulatedGuest guest = SimulatedGuest.For(new NetDevice("net0", cable), new SimulatedGuestOptions { Clock = clock });
        listener.Accept().Dispose();
        listener.Dispose();
        guest.Queue(0).Add(writable: [100]);
        guest.Kick(0).RunUntil(() => !cable.IsConnected);
        Assert.Equal([100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000], Waits(clock, guest, attempts: 9));
        guest.Reset();
        Assert.Equal(0, ReactorTimers.Of(guest.Reactor).Armed);
    }

    [Fact]
    public void A_peer_that_only_hangs_up_counts_as_away_until_it_sends_a_frame()
    {
        ManualClock clock = new();
        using Socket listener = Listen();
        NetSocket cable = NetSocket.Open(Path);
        using SimulatedGuest guest = SimulatedGuest.For(new NetDevice("net0", cable), new SimulatedGuestOptions { Clock = clock });
        DriverRequest request = guest.Queue(0).Add(writable: [100]);
        guest.Kick(0).RunUntilIdle();
        foreach (int wait in (int[])[100, 200, 400])
        {
            listener.Accept().Dispose();
            guest.RunUntil(() => !cable.IsConnected);
            Assert.Equal(wait, clock.UntilNextTimer!.Value.TotalMilliseconds);
            clock.Advance(TimeSpan.FromMilliseconds(wait));
            guest.RunUntil(() => cable.IsConnected);
        }
        using (Socket peer = listener.Accept())
        {
            peer.Send(OnStream(NetCable.Frame(60)));
            guest.RunUntil(() => request.IsUsed);
            guest.Queue(0).Add(writable: [100]);
            guest.Kick(0).RunUntilIdle();
        }
        guest.RunUntil(() => !cable.IsConnected);
        Assert.Equal(100, clock.UntilNextTimer!.Value.TotalMilliseconds);
    }

    private static List<double> Waits(ManualClock clock, SimulatedGuest guest, int attempts)
    {
        List<double> waits = [];
        for (int i = 0; i < attempts; i++)
        {
            TimeSpan wait = clock.UntilNextTimer!.Value;
            waits.Add(wait.TotalMilliseconds);
            clock.Advance(wait);
            guest.RunUntilIdle();
        }
        return waits;
    }

    private static DriverRequest AddBuffer(SimulatedGuest guest)
    {
        DriverRequest buffer = guest.Queue(0).Add(writable: [100]);
        guest.Kick(0).RunUntilIdle();
        return buffer;
    }

    /// <summary>A frame each way.</summary>
    /// <returns>The buffer for the next frame.</returns>
    private static DriverRequest Exchange(SimulatedGuest guest, Socket peer, DriverRequest received, int seed)
    {
        byte[] frame = NetCable.Frame(60, seed);
        peer.Send(OnStream(frame));
        guest.RunUntil(() => received.IsUsed);
        Assert.Equal(frame, received.Written[12..]);
        guest.Queue(0).Free(received);
        DriverRequest sent = guest.Queue(1).Add([NetCable.Packet(frame)]);
        guest.Kick(1).RunUntil(() => sent.IsUsed);
        byte[] got = new byte[64];
        for (int length = 0; length < got.Length;) length += peer.Receive(got.AsSpan(length));
        Assert.Equal(OnStream(frame), got);
        guest.Queue(1).Free(sent);
        return AddBuffer(guest);
    }

    private Socket Listen()
    {
        Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(Path));
        listener.Listen();
        return listener;
    }

    [Theory]
    [InlineData(uint.MaxValue, 64)]
    [InlineData(100_000u, 64)]
    [InlineData(100_000u, 100_000)]
    public void A_peer_that_claims_a_frame_beyond_all_bounds_is_hung_up_on(uint claimed, int sent)
    {
        using SimulatedGuest guest = SimulatedGuest.For(new NetDevice("net0", NetSocket.Open(Path)));
        using Socket peer = Connect();
        guest.Queue(0).Add(writable: [100]);
        guest.Kick(0).RunUntilIdle();
        byte[] prefix = new byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(prefix, claimed);
        peer.Blocking = false;
        peer.Send([.. prefix, .. new byte[sent]]);
        guest.RunUntilIdle();
        Assert.True(peer.Poll(TimeSpan.FromSeconds(10), SelectMode.SelectRead));
        try
        {
            Assert.Equal(0, peer.Receive(new byte[1]));
        }
        catch (SocketException reset) when (reset.SocketErrorCode == SocketError.ConnectionReset)
        {
        }
    }

    [Theory]
    [InlineData(65_554, true)]
    [InlineData(65_555, false)]
    [InlineData(65_566, false)]
    public void A_frame_at_the_bound_is_delivered_and_one_beyond_it_is_dropped_and_receiving_goes_on(int length, bool isDelivered)
    {
        NetDevice net = new("net0", NetSocket.Open(Path));
        using SimulatedGuest guest = SimulatedGuest.For(net);
        using Socket peer = Connect();
        // Larger than any frame: the guest's own buffer is no bound.
        DriverRequest first = guest.Queue(0).Add(writable: [70_000]), second = guest.Queue(0).Add(writable: [70_000]);
        guest.Kick(0).RunUntilIdle();
        byte[] frame = NetCable.Frame(length), after = NetCable.Frame(60, 2);
        peer.Blocking = false;
        byte[] stream = [.. OnStream(frame), .. OnStream(after)];
        for (int sent = 0; sent < stream.Length; guest.RunUntilIdle())
        {
            if (peer.Poll(0, SelectMode.SelectWrite)) sent += peer.Send(stream.AsSpan(sent, Math.Min(stream.Length - sent, 16_384)));
        }
        guest.RunUntil(() => isDelivered ? second.IsUsed : first.IsUsed);
        if (isDelivered) Assert.Equal(frame, first.Written[12..]);
        Assert.Equal(after, (isDelivered ? second : first).Written[12..]);
        Assert.Equal(isDelivered ? 0 : 1, net.Statistics.ReceiveDropped);
    }

    [Fact]
    public void What_a_process_that_is_gone_left_behind_is_replaced_and_the_path_goes_at_the_end()
    {
        using (Socket left = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)) left.Bind(new UnixDomainSocketEndPoint(Path));
        NetSocket cable = NetSocket.Open(Path);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path));
        cable.Dispose();
        Assert.False(File.Exists(Path));
    }

    [Fact]
    public void A_path_that_cannot_be_is_told_in_a_sentence()
    {
        NetworkException refused = Assert.Throws<NetworkException>(() => NetSocket.Open(System.IO.Path.Combine(_directory, "missing", "cable")));
        Assert.Contains("cannot listen on", refused.Message, StringComparison.Ordinal);
    }

    private static byte[] OnStream(byte[] frame)
    {
        byte[] prefix = new byte[4];
        BinaryPrimitives.WriteInt32BigEndian(prefix, frame.Length);
        return [.. prefix, .. frame];
    }

    private Socket Connect()
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(Path));
        return socket;
    }
}
