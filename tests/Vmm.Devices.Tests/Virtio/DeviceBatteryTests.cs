using Vmm.Devices.Native;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>Every device passes the same battery, on every kind of ring.</summary>
public sealed class DeviceBatteryTests
{
    /// <summary>Every device there is, with the requests it must answer; the catalogue of hostile drivers goes over them too.</summary>
    internal static readonly IReadOnlyDictionary<string, Func<DeviceBattery>> Devices = new Dictionary<string, Func<DeviceBattery>>
    {
        ["block"] = () => new DeviceBattery(
            () => new BlockDevice("vda", new FaultyBackend(), new DiskSpec { Queues = 2 }),
            Block(0, type: 0, data: 0, writable: 1025),
            Block(1, type: 1, data: 1024, writable: 1),
            Block(1, type: 4, data: 0, writable: 1)),
        ["entropy"] = () => new DeviceBattery(
            () => new EntropyDevice("rng0"),
            new BatteryRequest(0, [], 100) { Complaint = (_, used) => used == 100 ? null : $"{used} of 100 bytes" }),
        ["console"] = () => new DeviceBattery(
            () => new ConsoleDevice("console0", new ConsolePort("console", isConsole: true)),
            new BatteryRequest(1, "hello"u8.ToArray(), 0) { Complaint = (_, used) => used == 0 ? null : $"{used} bytes used" },
            new BatteryRequest(0, [], 16)
            {
                IsStream = true,
                Provoke = Type,
                Complaint = (_, used) => used > 0 ? null : "nothing used",
            }),
        ["console of two ports"] = () => new DeviceBattery(
            () => new ConsoleDevice("console0", new ConsolePort("console", isConsole: true), new ConsolePort("agent")),
            new BatteryRequest(3, [0, 0, 0, 0, (byte)ConsoleEvent.DeviceReady, 0, 1, 0], 0),
            new BatteryRequest(5, "hello"u8.ToArray(), 0)),
        ["net"] = Net,
        ["balloon"] = () => new DeviceBattery(
            () => new BalloonDevice("balloon0"),
            new BatteryRequest(0, [0xff, 0x3f, 0, 0], 0),
            new BatteryRequest(1, [0xff, 0x3f, 0, 0], 0),
            new BatteryRequest(2, [4, 0, 1, 0, 0, 0, 0, 0, 0, 0], 0)
            {
                IsStream = true,
                Provoke = device => _ = ((BalloonDevice)device).ReadStatisticsAsync(CancellationToken.None),
            },
            new BatteryRequest(3, [], 64)),
        ["vsock"] = () => new DeviceBattery(
            () => new VsockDevice("vsock0", VsockGuest.Cid, Path.Combine(Path.GetTempPath(), $"vmm-vsock-{Guid.NewGuid():n}")),
            new BatteryRequest(1, VsockGuest.BytesOf(VsockGuest.Header(VsockOperation.Reset, 1, 2)), 0) { Complaint = (_, used) => used == 0 ? null : $"{used} bytes used" },
            new BatteryRequest(0, [], 100) { Provoke = Connect, Complaint = (_, used) => used == VsockHeader.Bytes ? null : $"{used} bytes used" },
            new BatteryRequest(2, [], 4) { Provoke = device => ((VsockDevice)device).ResetTransport(), Complaint = (_, used) => used == 4 ? null : $"{used} bytes used" }),
    };

    public static TheoryData<string, string, ulong> Cases
    {
        get
        {
            TheoryData<string, string, ulong> cases = [];
            foreach (string device in Devices.Keys)
            {
                foreach ((string check, ulong ring) in DeviceBattery.Cases) cases.Add(device, check, ring);
            }
            return cases;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void It(string device, string check, ulong ring) => Devices[device]().Run(check, ring);

    [Fact]
    public void A_battery_finds_a_device_that_spins()
    {
        DeviceBattery battery = new(() => new BrokenDevice(spins: true), new BatteryRequest(0, [1], 1));
        Assert.Throws<BatteryFailedException>(() => battery.Run("rests when there is nothing to do", 0));
    }

    [Fact]
    public void A_battery_finds_a_device_that_says_it_wrote_more_than_it_could()
    {
        DeviceBattery battery = new(() => new BrokenDevice(spins: false), new BatteryRequest(0, [1], 1));
        BatteryFailedException failure = Assert.Throws<BatteryFailedException>(() => battery.Run("answers", VirtioFeatures.PackedRing));
        Assert.Contains("'answers' on a packed ring: once: 100 bytes used of 1", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_battery_finds_a_device_that_does_not_read_what_it_saved()
    {
        DeviceBattery battery = new(() => new BrokenDevice(spins: false, saves: true), new BatteryRequest(0, [1], 100));
        BatteryFailedException failure = Assert.Throws<BatteryFailedException>(() => battery.Run("goes on in another process", 0));
        Assert.Contains("device.answers is not known to this program", failure.Message, StringComparison.Ordinal);
    }

    /// <summary>Somebody types on the console.</summary>
    private static void Type(VirtioDevice console)
    {
        (UnixSocket device, UnixSocket host) = UnixSocket.Pair();
        StreamCalls.Write(host.Number, new byte[16], out _);
        host.Dispose();
        ((ConsoleDevice)console).Ports[0].Connect(device, null);
    }

    /// <summary>A program of the host wants to reach a port of the guest.</summary>
    private static void Connect(VirtioDevice vsock)
    {
        using UnixSocket host = UnixEndpoint.Connect(((VsockDevice)vsock).Path);
        StreamCalls.Write(host.Number, "CONNECT 1\n"u8, out _);
    }

    private static DeviceBattery Net()
    {
        NetCable? cable = null;
        byte[] frame = NetCable.Frame(60), last = [];
        return new DeviceBattery(
            () =>
            {
                cable?.Dispose();
                cable = new NetCable();
                return new NetDevice("net0", cable.Device);
            },
            new BatteryRequest(1, NetCable.Packet(frame), 0) { Complaint = (_, used) => used == 0 && (last = cable!.ReceiveLast() ?? last).AsSpan().SequenceEqual(frame) ? null : "not the frame" },
            new BatteryRequest(0, [], 1526)
            {
                Provoke = _ => cable!.TrySend(frame),
                Complaint = (content, used) => used == 72 && content.AsSpan(12, 60).SequenceEqual(frame) ? null : $"{used} bytes used",
            },
            new BatteryRequest(2, [0, 0, 1], 1) { Complaint = (content, used) => used == 1 && content[0] == 0 ? null : $"answer {content[0]}" });
    }

    private static BatteryRequest Block(int queue, byte type, int data, int writable) =>
        new(queue, [type, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, .. new byte[data]], writable)
        {
            Complaint = (content, used) => content[^1] == 0 && used == content.Length ? null : $"status {content[^1]}, {used} bytes used",
        };

    /// <summary>A device with a bug.</summary>
    private sealed class BrokenDevice : VirtioDevice
    {
        private readonly bool _saves;

        internal BrokenDevice(bool spins, bool saves = false) : base(VirtioDeviceType.Entropy, "broken")
        {
            _saves = saves;
            AddQueue("requests", 16, context =>
            {
                VirtQueue queue = context.Queue;
                while (queue.TryPop(out DescriptorChain? chain)) queue.Push(chain, spins ? 0u : 100);
                if (spins) Driver!.Remote.Post(_ => ServeQueue(0));
            });
        }

        protected internal override void Save(StateWriter to)
        {
            if (_saves) to.Add("answers", 1L);
        }
    }
}
