using System.Net.Sockets;
using System.Text.Json.Nodes;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>What each device knows beyond its rings goes on in another process; the battery saves all of them at every state.</summary>
public sealed class SavedDeviceTests
{
    private const string Mine = "02:00:00:00:00:01", Other = "02:00:00:00:00:02";

    public static TheoryData<ulong> Rings => [.. DeviceBattery.Rings];

    [Fact]
    public void A_disk_keeps_its_cache_mode_and_the_word_that_writes_were_lost()
    {
        FaultyBackend disk = new();
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", disk));
        guest.Driver.WriteConfig<byte>(BlockProtocol.ConfigWriteback, 0);
        guest.RunUntilIdle();
        uint generation = guest.Driver.Read(MmioRegister.ConfigGeneration);
        int interrupts = guest.ConfigInterrupts;
        guest.GoOnIn(() => new BlockDevice("vda", disk = new FaultyBackend()));
        Assert.Equal((0, generation), (guest.Driver.ReadConfig<byte>(BlockProtocol.ConfigWriteback), guest.Driver.Read(MmioRegister.ConfigGeneration)));
        Assert.Equal(interrupts, guest.ConfigInterrupts);
        Assert.Equal(BlockStatus.Ok, Write(guest));
        Assert.True(disk.Last!.IsDurable);

        disk.Fault = operation => operation.Kind == BlockOperationKind.Flush ? Errno.InputOutput : Errno.None;
        Assert.Equal(BlockStatus.IoError, Flush(guest));
        guest.GoOnIn(() => new BlockDevice("vda", new FaultyBackend()));
        Assert.Equal(BlockStatus.IoError, Flush(guest));
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public void A_device_whose_ring_was_wrong_asks_for_its_reset_in_the_next_process_too(ulong ring)
    {
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", new FaultyBackend()), On(ring));
        guest.Queue(0).Add([new GuestBuffer(ulong.MaxValue - 4, 16)], []);
        guest.Kick(0).RunUntilIdle();
        int interrupts = guest.ConfigInterrupts;
        for (int i = 0; i < 2; i++)
        {
            guest.GoOnIn(() => new BlockDevice("vda", new FaultyBackend()));
            guest.Kick(0).RunUntilIdle();
            Assert.True(guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
        }
        Assert.InRange(guest.ConfigInterrupts, Math.Max(interrupts, 1), interrupts + 2);
        guest.Reset().Start();
        Assert.False(guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
        Assert.Equal(BlockStatus.Ok, Write(guest));
    }

    [Fact]
    public void A_disk_that_is_larger_now_says_so()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", new FaultyBackend()));
        uint generation = guest.Driver.Read(MmioRegister.ConfigGeneration);
        int interrupts = guest.ConfigInterrupts;
        guest.GoOnIn(() => new BlockDevice("vda", new FaultyBackend { CapacityBytes = 4 << 20 }));
        Assert.NotEqual(generation, guest.Driver.Read(MmioRegister.ConfigGeneration));
        Assert.Equal(8192ul, guest.Driver.ReadConfig<ulong>(BlockProtocol.ConfigCapacity));
        Assert.Equal(interrupts + 1, guest.ConfigInterrupts);
    }

    [Fact]
    public void A_device_without_a_feature_that_was_negotiated_is_refused_by_its_name()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", new FaultyBackend()));
        StateException refused = Assert.Throws<StateException>(() => guest.GoOnIn(() => new BlockDevice("vda", new FaultyBackend { IsReadOnly = true })));
        Assert.Contains("features have CONFIG_WCE DISCARD WRITE_ZEROES, which vda does not offer", refused.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_disk_that_may_be_written_in_one_process_only_is_refused_though_no_driver_has_begun(bool wasReadOnly)
    {
        using SimulatedGuest guest =
            SimulatedGuest.For(new BlockDevice("vda", new FaultyBackend { IsReadOnly = wasReadOnly }), new SimulatedGuestOptions { Start = false });
        StateException refused = Assert.Throws<StateException>(() => guest.GoOnIn(() => new BlockDevice("vda", new FaultyBackend { IsReadOnly = !wasReadOnly })));
        Assert.Contains(wasReadOnly ? "disk 'vda' was read-only when it was saved: give it 'ro'"
            : "disk 'vda' could be written when it was saved: leave out 'ro'", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_disk_with_other_queues_or_segments_is_refused()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", new FaultyBackend(), new DiskSpec { SegmentsMax = 100 }));
        Assert.Contains("queues are 1, and vda has 2", Assert.Throws<StateException>(() => guest.GoOnIn(() =>
            new BlockDevice("vda", new FaultyBackend(), new DiskSpec { Queues = 2 }))).Message, StringComparison.Ordinal);
        using SimulatedGuest another = SimulatedGuest.For(new BlockDevice("vda", new FaultyBackend(), new DiskSpec { SegmentsMax = 100 }));
        Assert.Contains("request-bytes-max is", Assert.Throws<StateException>(() => another.GoOnIn(() =>
            new BlockDevice("vda", new FaultyBackend(), new DiskSpec { SegmentsMax = 50 }))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_network_card_keeps_its_filter_its_address_and_its_link()
    {
        NetCable cable = new();
        using SimulatedGuest guest = SimulatedGuest.For(new NetDevice("net0", cable.Device));
        MacAddress address = ((NetDevice)guest.Device).Address;
        Assert.Equal(0, NetCable.Command(guest, [0, 0, 0]));
        Assert.Equal(0, NetCable.Command(guest, [1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0]));
        Assert.Equal(0, NetCable.Command(guest, [2, 0, 100, 0]));
        GoOnOn(new NetCable());
        Assert.Equal(address, ((NetDevice)guest.Device).Address);
        Assert.True(Comes(NetCable.Frame(60, to: address.ToString())));
        Assert.True(Comes(NetCable.Frame(60, to: Other)));
        Assert.False(Comes(NetCable.Frame(60, to: "02:00:00:00:00:03")));
        Assert.True(Comes(NetCable.Tagged(100, Other)));
        Assert.False(Comes(NetCable.Tagged(101, Other)));
        // The driver announces itself to what may be another switch (virtio 1.2 § 5.1.6.5.4).
        Assert.Equal(NetProtocol.StatusLinkUp | NetProtocol.StatusAnnounce, guest.Driver.ReadConfig<ushort>(NetProtocol.ConfigStatus));
        Assert.Equal(0, NetCable.Command(guest, [3, 0]));
        ((NetDevice)guest.Device).IsLinkUp = false;
        GoOnOn(new NetCable());
        Assert.False(((NetDevice)guest.Device).IsLinkUp);
        Assert.Equal(NetProtocol.StatusAnnounce, guest.Driver.ReadConfig<ushort>(NetProtocol.ConfigStatus));
        cable.Dispose();

        void GoOnOn(NetCable next) => guest.GoOnIn(() =>
        {
            cable.Dispose();
            cable = next;
            return new NetDevice("net0", cable.Device);
        });

        bool Comes(byte[] frame)
        {
            DriverRequest request = guest.Queue(0).Add(writable: [1526]);
            guest.Kick(0).RunUntilIdle();
            Assert.True(cable.TrySend(frame));
            guest.RunUntilIdle();
            bool comes = request.IsUsed;
            // Whether or not: the buffer goes with a frame that is wanted.
            if (!comes) Assert.True(cable.TrySend(NetCable.Frame(60, to: Other)));
            guest.RunUntil(() => request.IsUsed);
            return comes;
        }
    }

    [Fact]
    public void A_network_card_that_is_given_an_address_shows_it_and_its_driver_goes_on_with_the_one_it_has()
    {
        using NetCable before = new(), after = new();
        Assert.True(MacAddress.TryParse(Mine, out MacAddress mine));
        Assert.True(MacAddress.TryParse(Other, out MacAddress other));
        using SimulatedGuest guest = SimulatedGuest.For(new NetDevice("net0", before.Device, new NetSpec { Mac = mine }));
        Assert.Equal(0, NetCable.Command(guest, [0, 0, 0]));
        guest.GoOnIn(() => new NetDevice("net0", after.Device, new NetSpec { Mac = other }));
        Assert.Equal(2, guest.Driver.ReadConfig<byte>(5));
        Assert.Equal(mine, ((NetDevice)guest.Device).Filter.Address);
        guest.Reset().Start();
        Assert.Equal(other, ((NetDevice)guest.Device).Filter.Address);
    }

    [Fact]
    public void A_network_card_keeps_its_pairs_and_its_offloads()
    {
        CountingNetwork network = new(pairs: 3);
        NetDevice Make() => new("net0", network = new CountingNetwork(pairs: 3), new NetSpec { QueuePairs = 3 });
        using SimulatedGuest guest = SimulatedGuest.For(Make());
        Assert.Equal(0, NetCable.Command(guest, [4, 0, 2, 0], queue: 6));
        guest.GoOnIn(Make);
        Assert.Equal([true, true, false], network.Active);
        JsonObject Driver(JsonObject root) => root["device"]!["driver"]!.AsObject();
        byte[] state = guest.Pause().Save();
        foreach ((string name, JsonNode value) in new (string, JsonNode)[] { ("active-pairs", 4), ("active-pairs", 0), ("guest-offloads", "0x1") })
        {
            guest.Pause();
            byte[] changed = SavedState.Changed(state, root => Driver(root)[name] = value.DeepClone());
            Assert.Contains(name, Assert.Throws<StateException>(() => guest.Replace(Make, changed)).Message, StringComparison.Ordinal);
        }
    }

    [Theory, MemberData(nameof(Rings))]
    public void A_console_sends_each_byte_of_a_chain_once_whatever_process_it_is_in(ulong ring)
    {
        UnixSocket? host = null;
        ConsoleDevice Make()
        {
            host?.Dispose();
            (UnixSocket device, host) = UnixSocket.Pair();
            ConsolePort port = new("console", isConsole: true) { KeepBytes = null };
            port.Connect(null, SerialOutput.To(device));
            return new ConsoleDevice("console0", port);
        }
        using SimulatedGuest guest = SimulatedGuest.For(Make(), On(ring));
        byte[] sent = BlockGuest.Pattern(3 << 20);
        DriverRequest[] requests = [guest.Queue(1).Add([sent[..(2 << 20)]]), guest.Queue(1).Add([sent[(2 << 20)..]])];
        guest.Kick(1).RunUntilIdle();
        MemoryStream got = new();
        int processes = 0;
        guest.RunUntil(() =>
        {
            guest.Pause();
            Take(host!, got);
            // What the first process writes after this it writes to its own host side.
            byte[] state = guest.Save();
            guest.Replace(Make, state);
            guest.Resume();
            processes++;
            return got.Length >= sent.Length;
        });
        Assert.Equal(sent, got.ToArray());
        Assert.InRange(processes, 3, int.MaxValue);
        guest.RunUntil(() => requests.All(request => request.IsUsed));
        Assert.Equal(2, guest.Served);
        host!.Dispose();
    }

    [Fact]
    public void A_console_that_keeps_very_much_saves_the_newest_and_says_how_much_it_dropped()
    {
        const int Kept = 17 << 20, Saved = 16 << 20;
        ConsoleDevice Make(ConsolePort port) => new("console0", port);
        using SimulatedGuest guest = SimulatedGuest.For(Make(new ConsolePort("console", isConsole: true) { KeepBytes = Kept }), On(0) with { MemoryBytes = 128 << 20 });
        byte[] sent = BlockGuest.Pattern(1 << 20);
        for (int i = 0; i < Kept / sent.Length; i++)
        {
            DriverRequest request = guest.Queue(1).Add([sent]);
            guest.Kick(1).RunUntil(() => request.IsUsed);
            guest.Queue(1).Free(request);
        }
        (UnixSocket device, UnixSocket host) = UnixSocket.Pair();
        using UnixSocket end = host;
        ConsolePort next = new("console", isConsole: true) { KeepBytes = Kept };
        guest.GoOnIn(() => Make(next));
        next.Connect(null, SerialOutput.To(device));
        MemoryStream got = new();
        byte[] notice = "\r\n[1048576 unread bytes were dropped here]\r\n"u8.ToArray();
        guest.RunUntil(() =>
        {
            Take(host, got);
            return got.Length >= notice.Length + Saved;
        });
        Assert.Equal(notice, got.ToArray()[..notice.Length]);
        Assert.Equal(notice.Length + Saved, got.Length);
    }

    [Theory, MemberData(nameof(Rings))]
    public void What_was_typed_on_a_console_and_not_read_is_read_in_the_next_process(ulong ring)
    {
        (UnixSocket device, UnixSocket host) = UnixSocket.Pair();
        using UnixSocket end = host;
        ConsolePort port = new("console", isConsole: true);
        port.Connect(device, null);
        using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", port), On(ring));
        StreamCalls.Write(host.Number, "one two three"u8, out _);
        DriverRequest first = guest.Queue(0).Add(writable: [4]);
        guest.Kick(0).RunUntil(() => first.IsUsed);
        guest.GoOnIn(() => new ConsoleDevice("console0", new ConsolePort("console", isConsole: true)));
        DriverRequest second = guest.Queue(0).Add(writable: [64]);
        guest.Kick(0).RunUntil(() => second.IsUsed);
        byte[] read = [.. first.Written, .. second.Written];
        Assert.Equal("one two three"u8.ToArray(), read);
    }

    [Fact]
    public void A_console_says_what_it_was_about_to_say_and_what_is_new()
    {
        using SimulatedGuest guest = SimulatedGuest.For(Console());
        guest.Queue(3).Add([[1, 0, 0, 0, (byte)ConsoleEvent.PortReady, 0, 1, 0]]);
        guest.Queue(3).Add([[1, 0, 0, 0, (byte)ConsoleEvent.PortOpen, 0, 1, 0]]);
        guest.Kick(3).RunUntilIdle();
        (UnixSocket device, UnixSocket host) = UnixSocket.Pair();
        using UnixSocket end = host;
        guest.GoOnIn(() =>
        {
            ConsoleDevice next = Console();
            next.Ports[1].Connect(device, null);
            return next;
        });
        DriverRequest[] said = [.. Enumerable.Range(0, 3).Select(_ => guest.Queue(2).Add(writable: [64]))];
        guest.Kick(2).RunUntil(() => said[1].IsUsed);
        Assert.Equal([1, 0, 0, 0, (byte)ConsoleEvent.PortName, 0, 1, 0, .. "agent"u8], said[0].Written);
        Assert.Equal([1, 0, 0, 0, (byte)ConsoleEvent.PortOpen, 0, 1, 0], said[1].Written);
        Assert.False(said[2].IsUsed);
        // The guest has the port open still.
        StreamCalls.Write(host.Number, "hello"u8, out _);
        DriverRequest read = guest.Queue(4).Add(writable: [16]);
        guest.Kick(4).RunUntil(() => read.IsUsed);
        Assert.Equal("hello"u8.ToArray(), read.Written);

        static ConsoleDevice Console() => new("console0", new ConsolePort("console", isConsole: true), new ConsolePort("agent"));
    }

    [Fact]
    public void A_console_of_other_ports_is_refused_by_name()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", new ConsolePort("console", isConsole: true)));
        Assert.Contains("name is 'console', and port 0 of console0 is 'hvc0'", Assert.Throws<StateException>(() =>
            guest.GoOnIn(() => new ConsoleDevice("console0", new ConsolePort("hvc0", isConsole: true)))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_size_of_a_terminal_is_the_new_ones_if_it_has_one()
    {
        ConsoleDevice Console(ushort columns)
        {
            ConsoleDevice made = new("console0", new ConsolePort("console", isConsole: true));
            if (columns > 0) made.Resize(columns, 24);
            return made;
        }
        using SimulatedGuest guest = SimulatedGuest.For(Console(80));
        int interrupts = guest.ConfigInterrupts;
        guest.GoOnIn(() => Console(0));
        Assert.Equal((80, interrupts), (guest.Driver.ReadConfig<ushort>(0), guest.ConfigInterrupts));
        guest.GoOnIn(() => Console(132));
        guest.RunUntilIdle();
        Assert.Equal(132, guest.Driver.ReadConfig<ushort>(0));
        Assert.InRange(guest.ConfigInterrupts, interrupts + 1, int.MaxValue);
    }

    [Theory, MemberData(nameof(Rings))]
    public async Task A_balloon_keeps_its_target_its_pages_and_what_was_reported(ulong ring)
    {
        using SimulatedGuest guest = SimulatedGuest.For(new BalloonDevice("balloon0") { TargetBytes = 8 << 20 }, On(ring));
        guest.Driver.WriteConfig(BalloonProtocol.ConfigActual, 100u);
        guest.RunUntilIdle();
        DriverRequest kept = guest.Queue(2).Add([Statistic(4, 1)]);
        guest.Kick(2).RunUntilIdle();
        guest.GoOnIn(() => new BalloonDevice("balloon0"));
        BalloonDevice balloon = (BalloonDevice)guest.Device;
        Assert.Equal((8ul << 20, 100ul * 4096), (balloon.TargetBytes, balloon.ActualBytes));
        Assert.Equal(1ul, balloon.LastStatistics![(BalloonStatistic)4]);
        Assert.False(kept.IsUsed);
        Task<IReadOnlyDictionary<BalloonStatistic, ulong>> answer = balloon.ReadStatisticsAsync(TestContext.Current.CancellationToken);
        guest.RunUntil(() => kept.IsUsed);
        Assert.False(answer.IsCompleted, "the answer is what the guest said before it was asked");
        guest.Queue(2).Add([Statistic(4, 2)]);
        guest.Kick(2).RunUntil(() => answer.IsCompleted);
        Assert.Equal(2ul, (await answer)[(BalloonStatistic)4]);
    }

    [Fact]
    public void The_guest_of_a_vsock_device_learns_that_its_connections_are_gone_and_listens_on()
    {
        using VsockGuest vsock = new();
        SimulatedGuest guest = vsock.Guest;
        using Socket listener = vsock.Listen(VsockGuest.PortOfHost);
        using Socket connected = vsock.Open(listener, VsockGuest.PortOfGuest, VsockGuest.PortOfHost);
        DriverRequest notice = guest.Queue(2).Add(writable: [4]);
        guest.Kick(2).RunUntilIdle();
        Assert.False(notice.IsUsed);
        guest.GoOnIn(() => new VsockDevice("vsock0", VsockGuest.Cid + 1, vsock.Base));
        guest.RunUntil(() => notice.IsUsed);
        Assert.Equal([0, 0, 0, 0], notice.Written);
        // With the event the driver looks at its context id again; the configuration has the new one.
        Assert.Equal(VsockGuest.Cid + 1, guest.Driver.ReadConfig<ulong>(0));
        Assert.Equal(0, connected.Receive(new byte[1]));
        using Socket host = vsock.Connect("CONNECT 5\n");
        VsockPacket packet = vsock.Receive();
        Assert.Equal((VsockOperation.Request, 5u), (packet.Operation, packet.Header.DestinationPort));
    }

    private static BlockStatus Write(SimulatedGuest guest)
    {
        DriverRequest request = guest.Queue(0).Write(1, new byte[512]);
        guest.Kick(0).RunUntil(() => request.IsUsed);
        return request.Status();
    }

    private static BlockStatus Flush(SimulatedGuest guest)
    {
        DriverRequest request = guest.Queue(0).Ask(BlockRequestType.Flush);
        guest.Kick(0).RunUntil(() => request.IsUsed);
        return request.Status();
    }

    private static void Take(UnixSocket host, MemoryStream got)
    {
        byte[] buffer = new byte[1 << 16];
        while (StreamCalls.Read(host.Number, buffer, out int length) == Errno.None && length > 0) got.Write(buffer, 0, length);
    }

    private static byte[] Statistic(ushort tag, ulong value) => [.. BitConverter.GetBytes(tag), .. BitConverter.GetBytes(value)];

    private static SimulatedGuestOptions On(ulong ring) => new()
    {
        Features = ~(VirtioFeatures.PackedRing | VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors) | ring,
        MemoryBytes = 64 << 20,
    };
}
