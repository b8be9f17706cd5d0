using System.Net.Sockets;
using Vmm.Devices.Simulation;
using Vmm.Devices.Tests.VhostUser;
using static Vmm.Devices.Tests.VsockGuest;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>Too much of everything over sockets: connections, packets nobody answers, words that never end. Memory, descriptors and time stay bounded.
/// What the process holds is counted, so these run alone.</summary>
[Collection(Alone.Name)]
[Trait("Device", "vsock")]
public sealed class HostileVsockFloodTests
{
    private const int Limit = 20;
    private const long BytesPerTurnMax = 1 << 20;

    /// <summary>What somebody may say and then be gone.</summary>
    private static readonly string[] Beginnings = ["CONNECT 80", "CONN", ""];

    /// <summary>What is no CONNECT, or not yet one where it must be over.</summary>
    private static readonly string[] Nonsense =
    [
        "CONNECT 00000000000000000000000000080\n", "CONNECT eighty\n", "CONNECT 4294967296\n", "CONNECT -1\n", "CONNECT \n", "connected 80\n", "CONNECT80\n", "CONNECT +\n",
        "GET / HTTP/1.1\r\n\r\n", "a line that goes on and on and on and never comes to its end",
    ];

    public static TheoryData<HostileCase> Cases => HostileCase.Of("vsock");

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "connections by guest-chosen ports until the host has no descriptor left, as CVE-2020-10717 of virtiofsd; tinylabscom/mvm pull 1861")]
    [Trait("Outcome", "RST beyond the limit")]
    public void A_flood_of_connections_ends_at_the_limit_and_the_device_works_on(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock(device: new VsockSpec { ConnectionsMax = Limit });
        using Neighbour neighbour = new(guest.Guest);
        using Socket listener = guest.Listen(PortOfHost, backlog: 4096);
        int descriptors = OpenDescriptors.Count();
        int responses = 0, resets = 0;
        for (uint i = 0; i < 1000; i++)
        {
            Free(guest, guest.Send(VsockOperation.Request, i * 7919, PortOfHost));
            foreach (VsockPacket packet in guest.ReceiveAll())
            {
                if (packet.Operation == VsockOperation.Response) responses++;
                else resets++;
            }
        }
        Assert.Equal((Limit, 1000 - Limit, Limit), (responses, resets, guest.Device.Connections));
        Assert.InRange(OpenDescriptors.Count() - descriptors, 0, Limit + 4);
        guest.Send(VsockOperation.Reset, 0, PortOfHost);
        guest.Send(VsockOperation.Request, PortOfGuest, PortOfHost);
        guest.Expect(VsockOperation.Response, PortOfGuest, PortOfHost);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "connections to a program that accepts none: a blocking connect held the device's thread up (firecracker-microvm/firecracker pull 6208)")]
    [Trait("Outcome", "RST after a while; few tries at a time")]
    public void A_flood_of_connections_to_a_full_backlog_leaves_the_reactor_time(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock(device: new VsockSpec { ConnectTimeout = TimeSpan.FromMilliseconds(100) });
        using Neighbour neighbour = new(guest.Guest);
        using Socket listener = guest.Listen(PortOfHost, backlog: 0);
        int resets = 0;
        for (uint i = 0; i < 1000; i++) Free(guest, guest.Send(VsockOperation.Request, i, PortOfHost));
        guest.Guest.RunUntil(() => (resets += guest.ReceiveAll().Count(packet => packet.Operation == VsockOperation.Reset)) >= 998);
        Assert.InRange(guest.Device.Connections, 0, 2);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "replies without bound: packets of unknown connections from a guest that gives no receive buffer")]
    [Trait("Outcome", "the guest waits")]
    public void Answers_that_are_not_taken_stop_the_guest_and_grow_nothing(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock(buffers: 0);
        using Neighbour neighbour = new(guest.Guest);
        SimulatedQueue queue = guest.Guest.Queue(1);
        for (uint i = 0; i < 300; i++)
        {
            if (queue.Ring.Free < 2) break;
            queue.Add([VsockGuest.BytesOf(VsockGuest.Header(VsockOperation.Data, i, PortOfHost))]);
            guest.Guest.Kick(1).RunUntilIdle();
        }
        int waiting = queue.InFlight;
        Assert.InRange(waiting, 40, 44);
        long events = guest.Guest.Reactor.Statistics.Events;
        guest.Guest.Reactor.RunOnce(TimeSpan.FromMilliseconds(10));
        Assert.Equal(events, guest.Guest.Reactor.Statistics.Events);
        guest.GiveBuffers(200);
        Assert.Equal(0, queue.InFlight);
        Assert.All(guest.ReceiveAll(), packet => Assert.Equal(VsockOperation.Reset, packet.Operation));
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "spinning without receive buffers: firecracker-microvm/firecracker pull 6031, rust-vmm/vhost-device pull 800")]
    [Trait("Outcome", "no wake-ups")]
    public void A_guest_that_never_gives_a_buffer_causes_no_wake_up(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock(buffers: 1);
        using Neighbour neighbour = new(guest.Guest);
        using Socket listener = guest.Listen(PortOfHost);
        guest.Send(VsockOperation.Request, PortOfGuest, PortOfHost);
        guest.Receive(refill: false);
        using Socket host = listener.Accept();
        host.Send(new byte[10_000]);
        host.Shutdown(SocketShutdown.Send);
        using Socket other = guest.Connect("CONNECT 80\n");
        guest.Guest.RunUntilIdle();
        long events = guest.Guest.Reactor.Statistics.Events;
        for (int i = 0; i < 10; i++) guest.Guest.Reactor.RunOnce(TimeSpan.FromMilliseconds(5));
        Assert.Equal(events, guest.Guest.Reactor.Statistics.Events);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "the host peer quits in the middle of CONNECT: cloud-hypervisor/cloud-hypervisor issue 6798, where the device's thread panicked")]
    [Trait("Outcome", "closed")]
    public void A_peer_that_quits_in_the_middle_of_CONNECT_is_forgotten(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock();
        using Neighbour neighbour = new(guest.Guest);
        foreach (string words in Beginnings)
        {
            guest.Connect(words).Dispose();
            guest.Guest.RunUntil(() => guest.Device.Connections == 0);
            Assert.Empty(guest.ReceiveAll());
        }
        // After the whole line, and before the guest has answered.
        guest.Connect("CONNECT 80\n").Dispose();
        uint port = guest.Receive().Header.SourcePort;
        guest.Send(VsockOperation.Response, 80, port);
        guest.ReceiveAll();
        guest.Send(VsockOperation.Reset, 80, port);
        Assert.Equal(0, guest.Device.Connections);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "words that are no CONNECT, longer than one can be, or never end")]
    [Trait("Outcome", "closed")]
    public void Who_says_anything_else_than_CONNECT_is_closed(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock();
        using Neighbour neighbour = new(guest.Guest);
        foreach (string words in Nonsense)
        {
            using Socket host = guest.Connect(words);
            Assert.Equal(0, guest.Device.Connections);
            Assert.Empty(guest.ReceiveAll());
        }
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "a host peer that never finishes its CONNECT holds a place for ever")]
    [Trait("Outcome", "closed")]
    public void Who_takes_too_long_for_CONNECT_is_closed(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock(device: new VsockSpec { ConnectTimeout = TimeSpan.FromMilliseconds(50) });
        using Neighbour neighbour = new(guest.Guest);
        using Socket host = guest.Connect("CONNECT 8");
        Assert.Equal(1, guest.Device.Connections);
        guest.Guest.RunUntil(() => guest.Device.Connections == 0);
        // Not the plain end: what it said was not read.
        Assert.Throws<SocketException>(() => host.Receive(new byte[1]));
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "firecracker-microvm/firecracker issue 2464: a write to a host socket that is closed killed the process by SIGPIPE")]
    [Trait("Outcome", "RST")]
    public void A_host_that_left_without_reading_costs_its_connection_and_not_the_process(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock();
        using Neighbour neighbour = new(guest.Guest);
        using Socket listener = guest.Listen(PortOfHost);
        guest.Send(VsockOperation.Request, PortOfGuest, PortOfHost);
        guest.Expect(VsockOperation.Response, PortOfGuest, PortOfHost);
        listener.Accept().Dispose();
        guest.Send(VsockOperation.Data, PortOfGuest, PortOfHost, new byte[1000]);
        guest.Send(VsockOperation.Data, PortOfGuest, PortOfHost, new byte[1000]);
        Assert.Contains(guest.ReceiveAll(), packet => packet.Operation == VsockOperation.Reset);
        Assert.Equal(0, guest.Device.Connections);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "messages without a byte cost no credit: as many as one likes, to a host that does not read")]
    [Trait("Outcome", "RST")]
    public void Empty_messages_without_end_are_reset(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock();
        using Neighbour neighbour = new(guest.Guest);
        using Socket listener = guest.Listen(PortOfHost, SocketType.Seqpacket);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost, VsockType.SeqPacket);
        int sent = 0;
        while (guest.Device.Connections == 1 && sent < 5000)
        {
            DriverRequest packet = guest.Send(VsockOperation.Data, PortOfGuest, PortOfHost, flags: VsockProtocol.EndOfMessage, type: VsockType.SeqPacket);
            Free(guest, packet);
            sent++;
            if (guest.ReceiveAll().Any(each => each.Operation == VsockOperation.Reset)) break;
        }
        Assert.InRange(sent, 1000, 4000);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "error paths that leak: connections, refusals and resets without end, as CVE-2022-26353 and CVE-2022-26354 of QEMU leaked elements")]
    [Trait("Outcome", "flat")]
    public void Connections_without_end_leave_descriptors_and_memory_as_they_were(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock();
        using Neighbour neighbour = new(guest.Guest);
        using Socket listener = guest.Listen(PortOfHost);
        int descriptors = 0;
        long bytes = 0;
        for (uint i = 0; i < 6000; i++)
        {
            if (i == 2000)
            {
                descriptors = OpenDescriptors.Count();
                bytes = GC.GetTotalMemory(forceFullCollection: true);
            }
            Free(guest, guest.Send(VsockOperation.Request, i, PortOfHost));
            listener.Accept().Dispose();
            Free(guest, guest.Send(VsockOperation.Data, i, PortOfHost, new byte[100]));
            if (i % 3 == 0) Free(guest, guest.Send(VsockOperation.Shutdown, i, PortOfHost, flags: VsockProtocol.BothWays));
            Free(guest, guest.Send(VsockOperation.Reset, i, PortOfHost));
            Free(guest, guest.Send(VsockOperation.Request, i, PortOfHost + 1));
            guest.ReceiveAll();
        }
        Assert.Equal(0, guest.Device.Connections);
        Assert.InRange(OpenDescriptors.Count() - descriptors, 0, 4);
        Assert.InRange(GC.GetTotalMemory(forceFullCollection: true) - bytes, long.MinValue, 2 << 20);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "CVE-2019-3900 (Linux: vhost without a weight for a turn): connections that all have much to say, in either direction")]
    [Trait("Outcome", "served a turn at a time")]
    public void A_turn_moves_no_more_than_its_share_of_bytes(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock();
        using Neighbour neighbour = new(guest.Guest);
        // Those the guest has given already are filled first.
        const long FirstBuffers = 32 * 4096;
        using Socket listener = guest.Listen(PortOfHost, backlog: Limit);
        Socket[] hosts = [.. Enumerable.Range(0, Limit).Select(i => guest.Open(listener, PortOfGuest + (uint)i, PortOfHost))];
        // To the guest: as much as its buffers take, of hosts that never stop.
        byte[] much = new byte[VsockGuest.Buffer];
        foreach (Socket host in hosts) host.Send(much);
        List<DriverRequest> given = [.. Enumerable.Range(0, 100).Select(_ => guest.Guest.Queue(0).Add(writable: [(int)VsockGuest.Buffer]))];
        guest.Guest.Driver.Kick(0);
        TakeTurns(() => given.Where(request => request.IsUsed).Sum(request => (long)request.UsedLength), guest.Guest.Queue(0), Limit * (long)VsockGuest.Buffer - FirstBuffers);

        // To the host: packets that all name the same memory.
        SimulatedQueue transmit = guest.Guest.Queue(1);
        GuestBuffer payload = transmit.Place(much);
        List<DriverRequest> made = [];
        for (uint i = 0; i < Limit && transmit.Ring.Free > 2; i++)
            made.Add(transmit.Add([transmit.Place(BytesOf(Header(VsockOperation.Data, PortOfGuest + i, PortOfHost, VsockGuest.Buffer))), payload], []));
        guest.Guest.Driver.Kick(1);
        TakeTurns(() => hosts.Sum(host => (long)host.Available), transmit, Limit * (long)VsockGuest.Buffer);
        Assert.All(hosts, host => Assert.Equal((int)VsockGuest.Buffer, host.Available));
        foreach (Socket host in hosts) host.Dispose();

        void TakeTurns(Func<long> moved, SimulatedQueue queue, long all)
        {
            long most = 0;
            for (int turn = 0; turn < 100; turn++)
            {
                long before = moved();
                guest.Guest.Reactor.RunOnce(TimeSpan.Zero);
                queue.Collect();
                most = Math.Max(most, moved() - before);
            }
            // Its share, and the packet that went over it.
            Assert.InRange(most, VsockGuest.Buffer, BytesPerTurnMax + 2 * VsockGuest.Buffer);
            Assert.InRange(moved(), all, long.MaxValue);
        }
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "a host that floods a guest which gives no credit, or no buffers")]
    [Trait("Outcome", "the host is held; no wake-ups")]
    public void A_flood_of_the_host_stays_with_the_host(HostileCase @case)
    {
        using VsockGuest guest = @case.Vsock();
        using Neighbour neighbour = new(guest.Guest);
        using Socket listener = guest.Listen(PortOfHost);
        using Socket host = guest.Open(listener, PortOfGuest, PortOfHost);
        host.Blocking = false;
        byte[] chunk = new byte[1 << 16];
        long sent = 0;
        for (int round = 0; round < 100; round++)
        {
            while (host.Poll(0, SelectMode.SelectWrite)) sent += host.Send(chunk, 0, chunk.Length, SocketFlags.None, out _);
            guest.Guest.RunUntilIdle();
        }
        // The credit it was given once, and no byte more.
        Assert.Equal(VsockGuest.Buffer, guest.ReceiveAll().Sum(packet => packet.Header.Length));
        long events = guest.Guest.Reactor.Statistics.Events;
        for (int i = 0; i < 5; i++) guest.Guest.Reactor.RunOnce(TimeSpan.FromMilliseconds(5));
        Assert.Equal(events, guest.Guest.Reactor.Statistics.Events);
        long got = VsockGuest.Buffer;
        while (got < sent)
        {
            guest.Send(Header(VsockOperation.CreditUpdate, PortOfGuest, PortOfHost, forwarded: (uint)got));
            got += guest.ReceiveAll().Sum(packet => packet.Header.Length);
        }
        Assert.Equal(sent, got);
    }

    private static void Free(VsockGuest guest, DriverRequest packet)
    {
        guest.Guest.RunUntil(() => packet.IsUsed);
        guest.Guest.Queue(1).Free(packet);
    }
}
