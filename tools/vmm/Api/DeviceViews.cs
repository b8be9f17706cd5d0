using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>Shows devices, and changes them.</summary>
internal static class DeviceViews
{
    private const long OperationsMax = 1_000_000_000, BytesMax = 1L << 40;
    private const double BurstSecondsMax = 3600;

    /// <summary>Latency is shown by powers of two nanoseconds, from 2 µs to 8.6 s.</summary>
    private const int LatencyBitMin = 10, LatencyBits = 23;

    private const double NanosecondsPerMicrosecond = 1000;

    /// <summary>Longest wait for a reactor: one that does not answer within this is stuck.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    internal static DeviceList List(ControlledMachine machine)
    {
        LatencyHistogram latency = new();
        return new DeviceList { Devices = [.. machine.Devices.Select(device => Of(device, latency))] };
    }

    internal static DeviceView Of(ControlledDevice controlled) => Of(controlled, new LatencyHistogram());

    internal static LatencyView Latency(ControlledMachine machine)
    {
        return new LatencyView
        {
            BoundsUs = [.. Enumerable.Range(LatencyBitMin + 1, LatencyBits).Select(bit => (1L << bit) / NanosecondsPerMicrosecond)],
            Devices =
            [
                .. machine.Devices.Where(controlled => controlled.Device.MeasureLatency).Select(controlled =>
                    new DeviceLatencyView { Name = controlled.Device.Name, Counts = Counts(controlled.Device) }),
            ],
        };

        static long[] Counts(VirtioDevice device)
        {
            long[] counts = new long[LatencyBitMin + LatencyBits];
            foreach (QueueDefinition queue in device.Queues) queue.StatisticsSoFar?.Latency.AddCountsByHighestBit(counts);
            return [counts[..(LatencyBitMin + 1)].Sum(), .. counts[(LatencyBitMin + 1)..]];
        }
    }

    private static DeviceView Of(ControlledDevice controlled, LatencyHistogram latency)
    {
        VirtioDevice device = controlled.Device;
        QueueTotals totals = device.Totals;
        BlockDevice? disk = device as BlockDevice;
        BalloonDevice? balloon = device as BalloonDevice;
        NetDevice? net = device as NetDevice;
        latency.Clear();
        foreach (QueueDefinition queue in device.Queues)
        {
            if (device.MeasureLatency && queue.StatisticsSoFar is { } done) latency.Merge(done.Latency);
        }
        return new DeviceView
        {
            Name = device.Name,
            Type = device.Type.ToString().ToLowerInvariant(),
            Reactor = controlled.Reactor.ReactorName,
            Socket = controlled.Backend?.SocketPath,
            Connected = controlled.Backend?.IsConnected,
            Connections = controlled.Backend?.Connections,
            Kicks = totals.Kicks,
            Requests = totals.Requests,
            Bytes = totals.Bytes,
            Interrupts = totals.Interrupts,
            GuestFaults = device.GuestFaults,
            HostFaults = device.HostFaults,
            InFlight = device.InFlight,
            ThrottledSeconds = device.Limit is null ? null : totals.Throttled.TotalSeconds,
            Reconnects = disk?.Backend.Reconnects,
            LatencyP50Us = device.MeasureLatency ? latency.Percentile(50) / NanosecondsPerMicrosecond : null,
            LatencyP99Us = device.MeasureLatency ? latency.Percentile(99) / NanosecondsPerMicrosecond : null,
            OperationsPerSecond = device.Limit?.OperationsPerSecond ?? 0,
            BytesPerSecond = device.Limit?.BytesPerSecond ?? 0,
            BurstSeconds = device.Limit?.Burst.TotalSeconds,
            Storage = disk?.Backend.Description,
            CapacityBytes = (long?)disk?.Backend.CapacityBytes,
            Operations = disk is null ? null : [.. disk.Figures.Where(done => done.Measured + done.Errors > 0).Select(Of)],
            ReadOnly = disk?.Backend.IsReadOnly,
            TargetBytes = (long?)balloon?.TargetBytes,
            ActualBytes = (long?)balloon?.ActualBytes,
            MacAddress = net?.Address.ToString(),
            LinkUp = net?.IsLinkUp,
            Mtu = net?.Mtu,
            ReceiveFilter = net is null ? null : Of(net.Filter),
            Sockets = (device as VsockDevice)?.Connections,
        };
    }

    /// <summary>The connections of a socket device.</summary>
    internal static Task<SocketList> SocketsAsync(ControlledDevice controlled)
    {
        VsockDevice device = Vsock(controlled);
        return controlled.Reactor.InvokeAsync(_ => new SocketList
        {
            Connections = [.. device.Peers.Select(peer => new SocketView
            {
                GuestPort = peer.GuestPort,
                HostPort = peer.HostPort,
                Type = peer.Type,
                State = peer.State,
                CreditBytes = peer.CreditBytes,
            })],
        }, Patience);
    }

    /// <summary>Ends a connection of a socket device.</summary>
    internal static async Task DisconnectAsync(ControlledDevice controlled, SocketPorts ports)
    {
        VsockDevice device = Vsock(controlled);
        bool isDone = await controlled.Reactor.InvokeAsync(_ => device.TryDisconnect(ports.GuestPort, ports.HostPort), Patience)
            .ConfigureAwait(false);
        if (!isDone)
            throw new ApiProblem(404, $"device '{device.Name}' has no connection between port {ports.GuestPort} of the guest and port "
                + $"{ports.HostPort} of the host: GET /v1/devices/{device.Name}/connections lists those it has");
    }

    /// <summary>Makes durable what was written to a disk.</summary>
    internal static Task FlushAsync(ControlledDevice controlled) => controlled.Device is BlockDevice disk
        ? Refusable(disk.FlushAsync(controlled.Reactor))
        : throw new ArgumentException($"device '{controlled.Device.Name}' is no disk: only disks can be flushed");

    private static VsockDevice Vsock(ControlledDevice controlled) => controlled.Device as VsockDevice
        ?? throw new ArgumentException($"device '{controlled.Device.Name}' has no connections: that is for sockets between guest and host");

    /// <summary>What can't be done now is a conflict.</summary>
    private static async Task Refusable(Task work)
    {
        try
        {
            await work.ConfigureAwait(false);
        }
        catch (InvalidOperationException refused) when (refused is not ObjectDisposedException)
        {
            throw new ApiProblem(409, refused.Message);
        }
    }

    private static DiskOperationView Of(DiskFigures done) => new()
    {
        Kind = done.Kind,
        Measured = done.Measured,
        Errors = done.Errors,
        LatencyP50Us = done.LatencyP50Us,
        LatencyP99Us = done.LatencyP99Us,
        LatencyMaxUs = done.LatencyMaxUs,
    };

    private static ReceiveFilterView Of(NetFilter filter) => new()
    {
        Promiscuous = filter.IsPromiscuous,
        Address = filter.Address.ToString(),
        Unicast = filter.AllUnicast ? null : filter.Unicast?.Select(address => address.ToString()).ToArray(),
        Multicast = filter.AllMulticast ? null : filter.Multicast?.Select(address => address.ToString()).ToArray(),
        Vlans = filter.Vlans is { } vlans
            ? [.. Enumerable.Range(0, NetProtocol.VlanCount).Where(vlan => (vlans[vlan / 64] >> (vlan % 64) & 1) != 0)] : null,
        Refuses =
        [
            .. filter.NoUnicast ? ["unicast"] : (string[])[], .. filter.NoMulticast ? ["multicast"] : (string[])[],
            .. filter.NoBroadcast ? ["broadcast"] : (string[])[],
        ],
    };

    /// <summary>Changes a device while it runs: all that is asked for, or nothing of it if some of it makes no sense.</summary>
    internal static async Task ChangeAsync(ControlledDevice controlled, DeviceChange change)
    {
        VirtioDevice device = controlled.Device;
        if (Complaint(device, change) is { } complaint) throw new ArgumentException(complaint);
        if (change.Medium is { } medium)
        {
            await Refusable(PutInAsync((BlockDevice)device, medium)).ConfigureAwait(false);
            return;
        }
        // Storage may take its time: not on the reactor.
        if (change.CapacityBytes is { } capacity) await Task.Run(() => ((BlockDevice)device).Grow((ulong)capacity)).ConfigureAwait(false);
        await controlled.Reactor.InvokeAsync(_ =>
        {
            Limit(device, change);
            if (change.TargetBytes is { } target) ((BalloonDevice)device).TargetBytes = (ulong)target;
            if (change.LinkUp is { } isUp) ((NetDevice)device).IsLinkUp = isUp;
            if (change is { Columns: { } columns, Rows: { } rows }) ((ConsoleDevice)device).Resize((ushort)columns, (ushort)rows);
            return true;
        }, Patience).ConfigureAwait(false);
    }

    private static async Task PutInAsync(BlockDevice disk, string medium)
    {
        try
        {
            await disk.SwapAsync(medium).ConfigureAwait(false);
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
        {
            // What the client named is not there, or is in use.
            throw new ArgumentException(refused.Message, refused);
        }
    }

    /// <summary>Describes a device in whole, on its reactor.</summary>
    internal static Task<InspectNode> InspectAsync(ControlledDevice controlled) => controlled.Reactor.InvokeAsync(_ =>
    {
        InspectNode node = new();
        controlled.Inspected.Inspect(node);
        return node;
    }, Patience);

    private static string? Complaint(VirtioDevice device, DeviceChange change)
    {
        if (change == new DeviceChange()) return "there is nothing to change: name a field and its value";
        if (change.CapacityBytes is not null && device is not BlockDevice) return NotOf("capacityBytes", "disks");
        if (change.Medium is not null && device is not BlockDevice) return NotOf("medium", "disks");
        if (change.Medium is not null && change with { Medium = null } != new DeviceChange())
            return "a medium is put in alone: change the rest before or after";
        if (change.Medium is "") return "a medium without a name: give the path of an image, or a URI";
        if (change.TargetBytes is not null && device is not BalloonDevice) return NotOf("targetBytes", "balloons");
        if (change.LinkUp is not null && device is not NetDevice) return NotOf("linkUp", "network cards");
        if ((change.Columns ?? change.Rows) is not null && device is not ConsoleDevice) return NotOf("columns and rows", "consoles");
        if (change.Columns is null != change.Rows is null) return "a terminal has columns and rows: give both";
        if (change.Columns is < 1 or > ushort.MaxValue || change.Rows is < 1 or > ushort.MaxValue)
            return $"a terminal of {change.Columns} columns and {change.Rows} rows: give 1 to {ushort.MaxValue} of each";
        if (change.OperationsPerSecond is < 0 or > OperationsMax)
            return $"{change.OperationsPerSecond} operations a second: give 1 to {OperationsMax}, or 0 for no limit";
        if (change.BytesPerSecond is < 0 or > BytesMax)
            return $"{change.BytesPerSecond} bytes a second: give 1 to {BytesMax}, or 0 for no limit";
        if (change.BurstSeconds is { } burst && !(burst is >= 0 and <= BurstSecondsMax))
            return $"a burst of {burst} seconds: give 0 to {BurstSecondsMax}";
        if (change.CapacityBytes is <= 0) return $"a disk of {change.CapacityBytes} bytes: give more than it has";
        if (change.TargetBytes is { } target && device is BalloonDevice balloon)
        {
            if (target is < 0 or > (long)BalloonDevice.TargetBytesMax)
                return $"a balloon of {target} bytes: give 0 to {BalloonDevice.TargetBytesMax}";
            if (balloon.MemoryBytes is > 0 and var memory && (ulong)target > memory)
                return $"a balloon of {target} bytes: the machine has {memory} in all";
        }
        return null;

        string NotOf(string field, string kinds) => $"device '{device.Name}' has no {field}: that is for {kinds}";
    }

    private static void Limit(VirtioDevice device, DeviceChange change)
    {
        if (change is { OperationsPerSecond: null, BytesPerSecond: null, BurstSeconds: null }) return;
        RateLimit limit = device.Limit ?? new RateLimit();
        limit.Change(change.OperationsPerSecond ?? limit.OperationsPerSecond, change.BytesPerSecond ?? limit.BytesPerSecond,
            change.BurstSeconds is { } burst ? TimeSpan.FromSeconds(burst) : limit.Burst);
        device.Limit = limit;
    }
}
