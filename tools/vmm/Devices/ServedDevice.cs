using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>What one option of <c>vmm serve</c> asked for.</summary>
/// <param name="Kind">The option's name, as it is printed.</param>
/// <param name="Socket">Where it is served.</param>
/// <param name="Request">The device.</param>
internal sealed record ServedDevice(string Kind, string Socket, DeviceRequest Request)
{
    /// <summary>Most entries of a disk's queues: front-ends ask for 128 (QEMU) to 1024.</summary>
    private const ushort DiskQueueSize = 1024;

    /// <summary>Data buffers of a request that fit, with header and status, into the shortest queue that front-ends ask for by default.</summary>
    private const int DiskSegmentsMax = 126;

    /// <summary>Most entries of a network's queues: front-ends ask for 256 (QEMU) to 1024.</summary>
    private const ushort NetQueueSize = 1024;

    /// <summary>What a front-end that asks us gets to hear; most set their own (NET_MTU).</summary>
    private const int NetMtu = 1500;

    internal static ServedDevice Disk(string text, int index)
    {
        DeviceArgument argument = DeviceArgument.Parse("--blk", text, ["path", "socket", "queues", "engine"], "ro", "direct");
        string path = argument.Required("path");
        bool readOnly = argument.Has("ro"), direct = argument.Has("direct");
        BlockDeviceOptions options = new()
        {
            Queues = argument.Number("queues", 1, BlockDeviceOptions.QueuesMax, standard: 1),
            QueueSize = DiskQueueSize,
            SegmentsMax = DiskSegmentsMax,
        };
        BlockEngineKind engine = argument.Optional("engine", "ring") switch
        {
            "ring" => BlockEngineKind.Ring,
            "threads" => BlockEngineKind.Threads,
            "synchronous" => BlockEngineKind.Synchronous,
            string other => throw argument.Refused($"unknown engine '{other}', there are ring, threads and synchronous"),
        };
        return new ServedDevice("blk", argument.Required("socket"), new DeviceRequest(() => new BlockDevice($"blk{index}", RawImage.Open(path, readOnly, engine, direct), options)));
    }

    internal static ServedDevice Entropy(string text, int index)
    {
        DeviceArgument argument = DeviceArgument.Parse("--rng", text, ["socket"]);
        return new ServedDevice("rng", argument.Required("socket"), new DeviceRequest(() => new EntropyDevice($"rng{index}")));
    }

    internal static ServedDevice Console(string text, int index)
    {
        ConsoleWay way = ConsoleWay.ParseServed(text, out string socket);
        return new ServedDevice("console", socket, ConsoleWay.Request($"console{index}", way));
    }

    internal static ServedDevice Net(string text, int index)
    {
        DeviceArgument argument = DeviceArgument.Parse("--net", text, ["socket", "tap", "queues"]);
        string tap = argument.Required("tap");
        // Front-ends keep the control queue, and the guest's address, to themselves.
        NetDeviceOptions options = new() { QueuePairs = NetOption.Queues(argument), QueueSize = NetQueueSize, Mtu = NetMtu, HasControlQueue = false };
        return new ServedDevice("net", argument.Required("socket"), NetOption.Request($"net{index}", () => TapInterface.Open(tap, options.QueuePairs), options, argument));
    }

    internal static ServedDevice Vsock(string text, int index)
    {
        DeviceArgument argument = DeviceArgument.Parse("--vsock", text, ["socket", .. VsockOption.Keys]);
        return new ServedDevice("vsock", argument.Required("socket"), VsockOption.Request($"vsock{index}", argument));
    }
}
