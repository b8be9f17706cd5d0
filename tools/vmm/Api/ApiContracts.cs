using System.ComponentModel;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Vmm.Tool;

/// <summary>What runs in this process.</summary>
internal sealed record MachineView
{
    [Description("What was started: serve, run or boot.")] public required string Kind { get; init; }
    [Description("The version of vmm.")] public required string Version { get; init; }
    [Description("The number of the process.")] public required int Process { get; init; }
    [Description("running, paused, draining or stopping.")] public required string State { get; init; }
    [Description("Seconds since the start.")] public required long UptimeSeconds { get; init; }
    [Description("How many devices there are.")] public required int Devices { get; init; }
    [Description("How often it started again; of a machine of 'vmm boot'.")] public long? Resets { get; init; }
    [Description("How far the memory of a snapshot is that is being saved.")] public SnapshotProgressView? Saving { get; init; }
    [Description("Where it listens over TLS, as https://ADDRESS:PORT; left out without --api-tls.")] public string? Address { get; init; }
    [Description("How 'vmm boot' is started to go on from a snapshot of it; left out for what can't be saved.")]
    public RestoreView? Restore { get; init; }
}

/// <summary>What a process is given that goes on from a snapshot of the machine, beside the snapshot.</summary>
internal sealed record RestoreView
{
    [Description("The options for its devices as they are now: by kind, and in the order of their names.")]
    public required IReadOnlyList<string> Options { get; init; }
    [Description("The directory that relative paths begin at.")] public required string Directory { get; init; }
}

/// <summary>How far a snapshot's memory is.</summary>
internal sealed record SnapshotProgressView
{
    [Description("Bytes of guest memory that were looked at.")] public required long BytesDone { get; init; }
    [Description("Bytes that the guest has.")] public required long BytesTotal { get; init; }
}

/// <summary>A snapshot to be made.</summary>
internal sealed record NewSnapshot
{
    [Description("Where: a full path that is not there yet.")] public required string Directory { get; init; }
    [Description("Whether the machine ends when it is saved, without having run on.")] public bool? Stop { get; init; }
    [Description("The snapshot that only the difference to is saved: the last one of this machine, in the same parent directory.")]
    public string? Base { get; init; }
    [Description("Whether disks are saved too, as they are at that moment: files disk-NAME beside the memory.")]
    public bool? Disks { get; init; }
}

/// <summary>A snapshot that was made.</summary>
internal sealed record SnapshotView
{
    [Description("Where it is.")] public required string Directory { get; init; }
    [Description("Bytes of guest memory that were written: those that are no zeros, and changed.")]
    public required long BytesWritten { get; init; }
    [Description("Seconds that the guest stood still.")] public required double StoppedSeconds { get; init; }
    [Description("Seconds until everything was durable.")] public required double ElapsedSeconds { get; init; }
    [Description("Bytes of disks that had to be copied, since their file system does not share blocks.")]
    public required long DiskBytesCopied { get; init; }
}

/// <summary>Work that takes long.</summary>
internal sealed record OperationView
{
    [Description("Its number, which is its address too.")] public required string Id { get; init; }
    [Description("flush, change, remove, snapshot or drain.")] public required string Kind { get; init; }
    [Description("The device it is about.")] public string? Device { get; init; }
    [Description("running, done or failed.")] public required string State { get; init; }
    [Description("When it began.")] public required DateTimeOffset Began { get; init; }
    [Description("Seconds that it runs, or ran.")] public required double Seconds { get; init; }
    [Description("How far it is.")] public SnapshotProgressView? Progress { get; init; }
    [Description("What it made.")] public SnapshotView? Snapshot { get; init; }
    [Description("Why it failed.")] public ProblemView? Problem { get; init; }
}

/// <summary>What runs, and what ended last.</summary>
internal sealed record OperationList
{
    public required IReadOnlyList<OperationView> Operations { get; init; }
}

/// <summary>How a server ends when its guests have gone.</summary>
internal sealed record DrainWish
{
    [Description("After so many seconds it ends although front-ends are left; without it, it waits for them.")]
    public double? Seconds { get; init; }
}

/// <summary>What a disk did of one kind.</summary>
internal sealed record DiskOperationView
{
    [Description("read, write, flush, discard or write-zeroes.")] public required string Kind { get; init; }
    [Description("Requests whose time was measured.")] public required long Measured { get; init; }
    [Description("Those that the storage failed.")] public required long Errors { get; init; }
    [Description("Microseconds that half of them took at most.")] public required double LatencyP50Us { get; init; }
    [Description("Microseconds that 99 of 100 took at most.")] public required double LatencyP99Us { get; init; }
    [Description("Microseconds that the longest took.")] public required double LatencyMaxUs { get; init; }
}

/// <summary>Which frames of the network a driver wants.</summary>
internal sealed record ReceiveFilterView
{
    [Description("All; the rest counts when this is false.")] public required bool Promiscuous { get; init; }
    [Description("The card's own address, which the driver may change.")] public required string Address { get; init; }
    [Description("Further addresses; left out for any.")] public IReadOnlyList<string>? Unicast { get; init; }
    [Description("Groups; left out for any.")] public IReadOnlyList<string>? Multicast { get; init; }
    [Description("VLANs; left out for any.")] public IReadOnlyList<int>? Vlans { get; init; }
    [Description("Kinds of frames that are not wanted: unicast, multicast, broadcast.")]
    public required IReadOnlyList<string> Refuses { get; init; }
}

/// <summary>The ports of a connection between guest and host.</summary>
internal sealed record SocketPorts
{
    [Description("The guest's port.")] public required uint GuestPort { get; init; }
    [Description("The host's port, as the guest sees it.")] public required uint HostPort { get; init; }
}

/// <summary>A connection between guest and host.</summary>
internal sealed record SocketView
{
    [Description("The guest's port; 0 while a program of the host has not named one.")] public required uint GuestPort { get; init; }
    [Description("The host's port, as the guest sees it.")] public required uint HostPort { get; init; }
    [Description("stream or seqpacket.")] public required string Type { get; init; }
    [Description("greeting, connecting, requested, open or dying.")] public required string State { get; init; }
    [Description("Bytes that the guest may send before the host has read some.")] public required int CreditBytes { get; init; }
}

/// <summary>The connections of a device, by ports.</summary>
internal sealed record SocketList
{
    public required IReadOnlyList<SocketView> Connections { get; init; }
}

/// <summary>A device as it is now. What it does not have is left out.</summary>
internal sealed record DeviceView
{
    [Description("The device's name, which is its address too.")] public required string Name { get; init; }
    [Description("block, network, entropy, balloon, console or socket.")] public required string Type { get; init; }
    [Description("The reactor that owns it.")] public required string Reactor { get; init; }
    [Description("Where front-ends connect.")] public string? Socket { get; init; }
    [Description("Whether a front-end is connected.")] public bool? Connected { get; init; }
    [Description("Front-ends that connected so far.")] public long? Connections { get; init; }
    [Description("Kicks that arrived.")] public required long Kicks { get; init; }
    [Description("Requests given back.")] public required long Requests { get; init; }
    [Description("Bytes read from and written to the buffers of those requests.")] public required long Bytes { get; init; }
    [Description("Interrupts for used buffers.")] public required long Interrupts { get; init; }
    [Description("Times the driver did something forbidden.")] public required long GuestFaults { get; init; }
    [Description("Times the host failed the device.")] public required long HostFaults { get; init; }
    [Description("Requests that were taken and not given back yet.")] public required int InFlight { get; init; }
    [Description("Seconds that its queues waited for its limit, together.")] public double? ThrottledSeconds { get; init; }
    [Description("Times that a disk's storage went away and was reached again.")] public long? Reconnects { get; init; }
    [Description("Microseconds that half of the requests took at most.")] public double? LatencyP50Us { get; init; }
    [Description("Microseconds that 99 of 100 requests took at most.")] public double? LatencyP99Us { get; init; }
    [Description("Operations a second that the limit allows; 0 for no limit.")] public required long OperationsPerSecond { get; init; }
    [Description("Bytes a second that the limit allows; 0 for no limit.")] public required long BytesPerSecond { get; init; }
    [Description("Seconds of its rate that the limit saves up.")] public double? BurstSeconds { get; init; }
    [Description("Where a disk keeps its sectors.")] public string? Storage { get; init; }
    [Description("Bytes that a disk holds.")] public long? CapacityBytes { get; init; }
    [Description("What a disk did, by kind; of kinds of which there were any.")]
    public IReadOnlyList<DiskOperationView>? Operations { get; init; }
    [Description("Whether a disk takes no writes.")] public bool? ReadOnly { get; init; }
    [Description("Bytes that a balloon asks the guest for.")] public long? TargetBytes { get; init; }
    [Description("Bytes that the guest gave up.")] public long? ActualBytes { get; init; }
    [Description("The address of a network card.")] public string? MacAddress { get; init; }
    [Description("Whether a network card's cable is plugged in.")] public bool? LinkUp { get; init; }
    [Description("Bytes of a network card's largest packet; left out if its driver is offered none.")] public int? Mtu { get; init; }
    [Description("Which frames a network card's driver wants.")] public ReceiveFilterView? ReceiveFilter { get; init; }
    [Description("Connections between guest and host, of a socket device.")] public int? Sockets { get; init; }
}

/// <summary>The devices, in the order in which they were added.</summary>
internal sealed record DeviceList
{
    public required IReadOnlyList<DeviceView> Devices { get; init; }
}

/// <summary>How long the requests of all devices took so far.</summary>
internal sealed record LatencyView
{
    [Description("Microseconds that the requests of each count took less than; the last count has all that took longer, too.")]
    public required IReadOnlyList<double> BoundsUs { get; init; }
    [Description("The devices that measure it.")] public required IReadOnlyList<DeviceLatencyView> Devices { get; init; }
}

/// <summary>How long a device's requests took so far.</summary>
internal sealed record DeviceLatencyView
{
    [Description("The device.")] public required string Name { get; init; }
    [Description("How many requests lie between each bound and the one before.")] public required IReadOnlyList<long> Counts { get; init; }
}

/// <summary>A guest's console.</summary>
internal sealed record GuestConsoleView
{
    [Description("Its name, which is its address too.")] public required string Name { get; init; }
    [Description("serial or virtio.")] public required string Kind { get; init; }
    [Description("Whether the guest can be typed at.")] public required bool TakesInput { get; init; }
}

/// <summary>The consoles of a machine.</summary>
internal sealed record GuestConsoleList
{
    public required IReadOnlyList<GuestConsoleView> Consoles { get; init; }
}

/// <summary>What is to be changed of a device while it runs. What is left out stays as it is.</summary>
internal sealed record DeviceChange
{
    [Description("Operations a second, over all queues; 0 for no limit. Devices of a group share their limit.")]
    public long? OperationsPerSecond { get; init; }
    [Description("Bytes a second, over all queues; 0 for no limit.")] public long? BytesPerSecond { get; init; }
    [Description("Seconds of its rate that the limit saves up.")] public double? BurstSeconds { get; init; }
    [Description("Of a disk: makes it larger.")] public long? CapacityBytes { get; init; }
    [Description("Of a disk: takes its medium out and puts this one in, a path or a URI, with the options of the one before. Alone.")]
    public string? Medium { get; init; }
    [Description("Of a balloon: asks the guest for so much memory.")] public long? TargetBytes { get; init; }
    [Description("Of a network card: plugs the cable in, or out.")] public bool? LinkUp { get; init; }
    [Description("Of a console: the columns of its terminal; with rows.")] public int? Columns { get; init; }
    [Description("Of a console: the rows of its terminal; with columns.")] public int? Rows { get; init; }
}

/// <summary>A device to be served from now on.</summary>
internal sealed record NewDevice
{
    [Description("Its kind, as an option of 'vmm serve' without dashes: blk, net, rng, console, balloon or vsock.")]
    public required string Kind { get; init; }
    [Description("What that option would be given: path=disk.img,socket=/run/vm/vda.sock.")] public required string Options { get; init; }
}

/// <summary>How much is logged.</summary>
internal sealed record LogView
{
    [Description("What is logged at the least: trace, debug, information, warning, error, critical or none.")]
    public required string Level { get; init; }
}

/// <summary>Something that happened.</summary>
internal sealed record ApiEvent
{
    [Description("When it happened.")] public required DateTimeOffset Time { get; init; }
    [Description("How serious it is: debug, information, warning, error or critical.")] public required string Level { get; init; }
    [Description("What happened, for programs: front-end-connected, guest-fault and so on; log for anything else.")]
    public required string Kind { get; init; }
    [Description("The device it happened to.")] public string? Device { get; init; }
    [Description("What happened, for readers.")] public required string Message { get; init; }
}

/// <summary>Why a request was not carried out (RFC 9457).</summary>
internal sealed record ProblemView
{
    [Description("What the status says.")] public required string Title { get; init; }
    [Description("The status of the answer.")] public required int Status { get; init; }
    [Description("What was wrong, and what to do.")] public required string Detail { get; init; }
}

/// <summary>How these are written as JSON.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, MaxDepth = 8,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow)]
[JsonSerializable(typeof(MachineView))]
[JsonSerializable(typeof(NewSnapshot))]
[JsonSerializable(typeof(SnapshotView))]
[JsonSerializable(typeof(DeviceList))]
[JsonSerializable(typeof(DeviceView))]
[JsonSerializable(typeof(DeviceChange))]
[JsonSerializable(typeof(NewDevice))]
[JsonSerializable(typeof(OperationView))]
[JsonSerializable(typeof(OperationList))]
[JsonSerializable(typeof(DrainWish))]
[JsonSerializable(typeof(SocketPorts))]
[JsonSerializable(typeof(SocketList))]
[JsonSerializable(typeof(LatencyView))]
[JsonSerializable(typeof(GuestConsoleList))]
[JsonSerializable(typeof(LogView))]
[JsonSerializable(typeof(ApiEvent))]
[JsonSerializable(typeof(ProblemView))]
internal sealed partial class ApiJson : JsonSerializerContext
{
    /// <summary>Apostrophes of sentences stay as they are: this is part of no web page.</summary>
    internal static ApiJson Readable => field ??=
        new(new JsonSerializerOptions(Default.Options) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
}
