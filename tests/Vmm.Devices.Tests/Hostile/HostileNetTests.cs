using System.Buffers.Binary;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>A network card whose driver lies about headers, buffers and lengths, and whose network floods.</summary>
[Trait("Device", "net")]
public sealed class HostileNetTests
{
    private const int Receive = 0, Transmit = 1, Control = 2;
    private const ulong Aliased = 32 << 20;
    private const int BytesPerTurnMax = 1 << 20;
    private const int FramesPerTurnMax = 256;

    public static TheoryData<HostileCase> Cases => HostileCase.Of("net");

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "CVE-2022-2132 (DPDK: vhost header over more than two descriptors)")]
    [Trait("Outcome", "served as one header")]
    public void A_header_cut_into_three_descriptors_anywhere_is_one_header(HostileCase @case)
    {
        using NetCable cable = new();
        using SimulatedGuest guest = @case.Guest(new NetDevice("net0", cable.Device));
        using Neighbour neighbour = new(guest);
        byte[] frame = NetCable.Frame(60), packet = NetCable.Packet(frame);
        for (int first = 1; first < 12; first++)
        {
            for (int second = first + 1; second < 13; second++)
            {
                DriverRequest sent = guest.Queue(Transmit).Add([packet[..first], packet[first..second], packet[second..]]);
                DriverRequest received = guest.Queue(Receive).Add(writable: [first, second - first, 1526 - second]);
                guest.Kick(Transmit).Kick(Receive).RunUntil(() => sent.IsUsed);
                Assert.Equal(frame, cable.Receive());
                cable.TrySend(frame);
                guest.RunUntil(() => received.IsUsed);
                Assert.Equal([.. new byte[10], 1, 0, .. frame], received.Written);
                guest.Queue(Transmit).Free(sent);
                guest.Queue(Receive).Free(received);
            }
        }
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "CVE-2023-6693 (QEMU: virtio-net, a header longer than the place it was copied to, by the features negotiated)")]
    [Trait("Outcome", "10 or 12 bytes, never more")]
    public void The_header_is_as_long_as_the_features_say_in_both_directions(HostileCase @case)
    {
        foreach ((ulong features, int headerLength) in ((ulong, int)[])
        [
            (0, 10), (NetProtocol.FeatureMergeReceive, 12), (VirtioFeatures.Version1, 12), (VirtioFeatures.Version1 | NetProtocol.FeatureMergeReceive, 12),
        ])
        {
            SendAndReceive(@case, features | @case.Ring, headerLength);
        }
    }

    /// <summary>Below the transport, which has no driver without VERSION_1: vhost-user has.</summary>
    private static void SendAndReceive(HostileCase @case, ulong features, int headerLength)
    {
        using NetCable cable = new();
        using NetDevice device = new("net0", cable.Device);
        using GuestMemory memory = GuestMemory.Create(1 << 20);
        using Reactor reactor = new(new ReactorOptions { Poller = @case.Poller, HandlerFailurePolicy = HandlerFailurePolicy.StopReactor });
        GuestAllocator allocator = new(1 << 12, (1 << 20) - (1 << 12));
        SignalCounter signals = new();
        DeviceRunner runner = new(device, reactor.Remote, DeviceRunner.ReactorsOf(device, reactor.Remote, []), _ => new EventFd());
        runner.Begin(new DriverSession(features, memory, signals, reactor, reactor.Remote));
        DriverQueue[] rings = [.. Enumerable.Range(0, 2).Select(_ => DriverQueue.Create(memory, allocator, 8, features))];
        byte[] frame = NetCable.Frame(60);
        GuestBuffer sent = Place(NetCable.Packet(frame, headerLength)), received = Place(new byte[200]);
        rings[Transmit].TryAdd([sent], [], out _);
        rings[Receive].TryAdd([], [received], out _);
        for (int i = 0; i < rings.Length; i++)
        {
            rings[i].Publish();
            Assert.True(runner.TryStart(rings[i].Configuration(i), out _));
        }
        cable.TrySend(frame);
        for (int i = 0; i < 10; i++) reactor.RunOnce(TimeSpan.FromMilliseconds(1));
        Assert.Equal(frame, cable.Receive());
        Assert.True(rings[Receive].TryCollect(out UsedChain used));
        byte[] whole = new byte[200];
        memory.TryRead(received.Address, whole);
        Assert.Equal(((uint)headerLength + 60, headerLength == 12 ? 1 : 0), (used.Written, headerLength == 12 ? BinaryPrimitives.ReadUInt16LittleEndian(whole.AsSpan(10)) : 0));
        Assert.Equal(frame, whole[headerLength..(headerLength + 60)]);
        runner.Reset(() => { });

        GuestBuffer Place(byte[] content)
        {
            GuestBuffer buffer = new(allocator.Allocate((uint)content.Length), (uint)content.Length);
            memory.TryWrite(buffer.Address, content);
            return buffer;
        }
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "virtio 1.2 § 5.1.6.2: frames cut short in their header, behind it, and in the frame's own")]
    [Trait("Outcome", "dropped, or needs reset; the next frame goes")]
    public void Frames_cut_short_are_dropped_and_the_next_one_goes(HostileCase @case)
    {
        using NetCable cable = new();
        NetDevice device = new("net0", cable.Device);
        using SimulatedGuest guest = @case.Guest(device);
        using Neighbour neighbour = new(guest);
        byte[] frame = NetCable.Frame(60), packet = NetCable.Packet(frame);
        for (int length = 1; length <= 12 + 14; length++)
        {
            DriverRequest made = guest.Queue(Transmit).Add([packet[..length]]);
            guest.Kick(Transmit).RunUntilIdle();
            Assert.True(made.IsUsed);
            // Less than a header is no packet; a header alone, no frame; less than an Ethernet header is the network's to judge.
            Assert.Equal(length < 12, guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
            if (length < 12) guest.Reset().Start();
            Assert.Equal(length <= 12 ? length : 12, device.Statistics.SendDropped);
        }
        Assert.InRange(cable.ReceiveLast()?.Length ?? 0, 0, 14);
        DriverRequest whole = guest.Queue(Transmit).Add([packet]);
        guest.Kick(Transmit).RunUntil(() => whole.IsUsed);
        Assert.Equal(frame, cable.ReceiveLast());
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "CVE-2020-16843 (Firecracker: ingress freezes when the receive queue is full): a network that floods a guest without buffers")]
    [Trait("Outcome", "the network keeps them; all come when refilled")]
    public void A_flood_of_frames_stays_with_the_network_until_there_are_buffers(HostileCase @case)
    {
        using NetCable cable = new();
        NetDevice device = new("net0", cable.Device);
        using SimulatedGuest guest = @case.Guest(device);
        using Neighbour neighbour = new(guest);
        byte[] frame = NetCable.Frame(60);
        int sent = 0;
        for (int round = 0; round < 10; round++)
        {
            while (cable.TrySend(frame)) sent++;
            guest.RunUntilIdle();
        }
        long events = guest.Reactor.Statistics.Events;
        for (int i = 0; i < 5; i++) guest.Reactor.RunOnce(TimeSpan.FromMilliseconds(5));
        Assert.Equal(events, guest.Reactor.Statistics.Events);
        Assert.False(cable.TrySend(frame));
        Assert.Equal(0, device.Statistics.Received);

        for (int given = 0; given < sent;)
        {
            List<DriverRequest> made = [];
            for (; guest.Queue(Receive).Ring.Free > 0 && given < sent; given++) made.Add(guest.Queue(Receive).Add(writable: [128]));
            guest.Driver.Kick(Receive);
            guest.RunUntil(() => made[^1].IsUsed);
            Assert.All(made, request => Assert.Equal(frame, request.Written[12..]));
            made.ForEach(guest.Queue(Receive).Free);
        }
        Assert.Equal((sent, 0), (device.Statistics.Received, device.Statistics.ReceiveDropped));
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "CVE-2019-3900 (Linux: vhost without a weight for a turn): a network that never stops, with frames too short to need a buffer")]
    [Trait("Outcome", "taken a turn at a time; its neighbour is served")]
    public void A_network_that_never_stops_is_taken_a_turn_at_a_time(HostileCase @case)
    {
        EndlessNetwork network = new();
        NetDevice device = new("net0", network);
        using SimulatedGuest guest = @case.Guest(device);
        using Neighbour neighbour = new(guest);
        guest.Queue(Receive).Add(writable: [1526]);
        guest.Driver.Kick(Receive);
        for (int turn = 0; turn < 20; turn++)
        {
            long before = network.Frames;
            guest.Reactor.RunOnce(TimeSpan.Zero);
            // For the driver's kick, and to go on with what was left.
            Assert.InRange(network.Frames - before, 0, 2 * FramesPerTurnMax);
        }
        Assert.InRange(network.Frames, 10 * FramesPerTurnMax, long.MaxValue);
        Assert.Equal(network.Frames, device.Statistics.ReceiveDropped);
        neighbour.Ask();
        network.HasStopped = true;
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "virtio 1.2 § 5.1.6.3.1: receive buffers that can't be written, have no bytes, or no room for a header; devices that try one for ever")]
    [Trait("Outcome", "given back, needs reset")]
    public void Receive_buffers_without_room_for_a_header_end_the_queue(HostileCase @case)
    {
        foreach ((GuestBuffer[] readable, GuestBuffer[] writable) in ((GuestBuffer[], GuestBuffer[])[])
        [
            ([new GuestBuffer(Aliased, 1526)], []),
            ([new GuestBuffer(Aliased, 1526)], [new GuestBuffer(Aliased, 0)]),
            ([], [new GuestBuffer(Aliased, 0)]),
            ([], [new GuestBuffer(Aliased, 11)]),
        ])
        {
            using HostileGuest hostile = new(@case);
            BatteryRequest receive = hostile.Requests.Single(request => request.Queue == Receive);
            hostile.Guest.Queue(Receive).Add(readable, writable);
            hostile.Serve(receive);
            Assert.True(hostile.NeedsReset);
            long events = hostile.Guest.Reactor.Statistics.Events;
            hostile.Guest.Reactor.RunOnce(TimeSpan.FromMilliseconds(5));
            Assert.Equal(events, hostile.Guest.Reactor.Statistics.Events);
            hostile.AssertWorksAfterReset();
        }
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "CVE-2021-3748 (QEMU: virtio-net, a header written after its memory was let go)")]
    [Trait("Outcome", "nothing is written after a reset")]
    public void A_frame_that_waits_for_buffers_is_gone_with_the_driver_it_waited_for(HostileCase @case)
    {
        using NetCable cable = new();
        using SimulatedGuest guest = @case.Guest(new NetDevice("net0", cable.Device));
        using Neighbour neighbour = new(guest);
        DriverRequest[] few = [.. Enumerable.Range(0, 3).Select(_ => guest.Queue(Receive).Add(writable: [500]))];
        guest.Kick(Receive).RunUntilIdle();
        cable.TrySend(NetCable.Frame(9000));
        guest.RunUntilIdle();
        Assert.DoesNotContain(few, request => request.IsUsed);
        guest.Reset();
        byte[] mark = [.. Enumerable.Repeat((byte)0xa5, 500)];
        foreach (DriverRequest request in few) guest.Memory.TryWrite(request.Writable[0].Address, mark);
        guest.Start();
        DriverRequest next = guest.Queue(Receive).Add(writable: [1526]);
        guest.Kick(Receive).RunUntilIdle();
        byte[] frame = NetCable.Frame(60);
        cable.TrySend(frame);
        guest.RunUntil(() => next.IsUsed);
        Assert.Equal(frame, next.Written[12..]);
        Assert.All(few, request => Assert.Equal(mark, request.Content));
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "a frame spread over as many of the smallest buffers as a ring holds")]
    [Trait("Outcome", "delivered if it fits the ring, dropped if it can't; the next one comes")]
    public void Buffers_of_one_header_each_take_what_fits_and_hold_nothing_up(HostileCase @case)
    {
        using NetCable cable = new();
        NetDevice device = new("net0", cable.Device);
        using SimulatedGuest guest = @case.Guest(device);
        using Neighbour neighbour = new(guest);
        for (int round = 0; round < 3; round++)
        {
            List<DriverRequest> made = [];
            while (guest.Queue(Receive).Ring.Free > 0) made.Add(guest.Queue(Receive).Add(writable: [12]));
            guest.Kick(Receive).RunUntilIdle();
            cable.TrySend(NetCable.Frame(60_000));
            byte[] frame = NetCable.Frame(120, seed: round);
            cable.TrySend(frame);
            guest.RunUntil(() => made[10].IsUsed);
            byte[] whole = [.. made.Take(11).SelectMany(request => request.Written)];
            Assert.Equal(11, BinaryPrimitives.ReadUInt16LittleEndian(whole.AsSpan(10)));
            Assert.Equal(frame, whole[12..]);
            Assert.Equal(round + 1, device.Statistics.ReceiveDropped);
            guest.Reset().Start();
        }
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "CVE-2019-3900 (Linux: vhost without a weight for a turn); the longest frames there are, all naming the same memory")]
    [Trait("Outcome", "served a turn at a time")]
    public void A_turn_sends_no_more_than_its_share_of_bytes(HostileCase @case)
    {
        using NetCable cable = new();
        using SimulatedGuest guest = @case.Guest(new NetDevice("net0", cable.Device));
        using Neighbour neighbour = new(guest);
        GuestBuffer frame = new(Aliased, 60_000);
        List<DriverRequest> made = [];
        while (guest.Queue(Transmit).Ring.Free > 0) made.Add(guest.Queue(Transmit).Add([frame], []));
        guest.Driver.Kick(Transmit);
        int turns = 0;
        while (!made[^1].IsUsed)
        {
            int before = made.Count(request => request.IsUsed);
            while (cable.Receive() is not null)
            {
            }
            guest.Reactor.RunOnce(TimeSpan.FromMilliseconds(1));
            guest.Queue(Transmit).Collect();
            // Our own eventfd beside the driver's, and one frame that goes over.
            Assert.InRange((made.Count(request => request.IsUsed) - before) * 60_000, 0, 2 * (BytesPerTurnMax + 60_000));
            Assert.True(turns++ < 10_000);
        }
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "tables and commands of gigabytes, by a count that lies or by naming the same memory over and over")]
    [Trait("Outcome", "an error, or any address")]
    public void Commands_without_end_are_answered_at_once(HostileCase @case)
    {
        using HostileGuest hostile = new(@case);
        SimulatedQueue queue = hostile.Guest.Queue(Control);
        byte[] head = [1, 0, 0xff, 0xff, 0xff, 0x0f];
        hostile.Guest.Memory.TryWrite(Aliased, head);
        foreach (int repeats in (int[])[0, 1, 60])
        {
            GuestBuffer[] readable = [new GuestBuffer(Aliased, (uint)head.Length), .. Enumerable.Repeat(new GuestBuffer(Aliased, 16 << 20), @case.Indirect ? repeats : Math.Min(repeats, 40))];
            DriverRequest made = queue.Add(readable, [new GuestBuffer(Aliased + (24 << 20), 1)]);
            hostile.Guest.Kick(Control).RunUntilIdle();
            Assert.True(made.IsUsed);
            Assert.Equal(1u, made.UsedLength);
        }
        hostile.AssertWorks();
    }

    /// <summary>A network that always has a frame, and one too short for anybody.</summary>
    private sealed class EndlessNetwork : INetBackend, INetSource, INetSink
    {
        internal long Frames { get; private set; }

        internal bool HasStopped { get; set; }

        public string Description => "a network without end";

        public int QueuePairs => 1;

        public NetOffloads Offloads => NetOffloads.None;

        public bool CarriesHeader => false;

        public bool IsReady => !HasStopped;

        public Errno Configure(int headerLength, NetOffloads toGuest) => Errno.None;

        public void SetActive(int pair, bool active)
        {
        }

        public void SetLink(bool up)
        {
        }

        public INetSource CreateSource(int pair, IReactor reactor, Action onReady) => this;

        public INetSink CreateSink(int pair, IReactor reactor, Action onReady) => this;

        public Errno Receive(ReadOnlySpan<IoVector> vectors, out int length)
        {
            length = 10;
            Frames++;
            return Errno.None;
        }

        public Errno Send(ReadOnlySpan<IoVector> vectors) => Errno.None;

        public void Dispose()
        {
        }
    }
}
