using System.Diagnostics.Metrics;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>What an operator sees of a disk: latency and errors by kind of operation, its depth, what held it up.</summary>
[Collection(Alone.Name)]
public sealed class DiskFiguresTests
{
    private const int Other = 0;

    [Fact]
    public void Each_kind_of_operation_has_latencies_of_its_own()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", new FaultyBackend()) { MeasureLatency = true });
        SimulatedQueue queue = guest.Queue(0);
        DriverRequest[] requests =
        [
            queue.Read(0), queue.Write(0, new byte[512]), queue.Read(1), queue.Write(1, new byte[512]), queue.Read(2),
            queue.Ask(BlockRequestType.Flush), queue.Segment(BlockRequestType.WriteZeroes, 0, 1), queue.Read(ulong.MaxValue),
        ];
        guest.Kick(0).RunUntil(() => requests.All(request => request.IsUsed));
        BlockDevice disk = (BlockDevice)guest.Device;
        Assert.Equal([("read", 3L), ("write", 2L), ("flush", 1L), ("discard", 0L), ("write-zeroes", 1L)],
            disk.Figures.Select(done => (done.Kind, done.Measured)));
        Assert.All(disk.Figures.Where(done => done.Measured > 0), done => Assert.InRange(done.LatencyP50Us, 0.001, done.LatencyMaxUs));
        QueueStatistics statistics = disk.Queues[0].Statistics;
        // What is on no sector of the disk is no operation.
        Assert.Equal(1, statistics.LatencyOf(Other)?.Count);
        Assert.Equal(requests.Length, statistics.Latency.Count);
        // A histogram that has nothing to hold is not made.
        int discard = disk.RequestKinds.ToList().IndexOf("discard");
        Assert.Null(statistics.LatencyOf(discard));
        DriverRequest late = queue.Segment(BlockRequestType.Discard, 0, 8);
        guest.Kick(0).RunUntil(() => late.IsUsed);
        Assert.Equal(1, statistics.LatencyOf(discard)?.Count);
    }

    [Fact]
    public void A_disk_that_is_not_measured_has_no_histograms()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", new FaultyBackend()));
        DriverRequest read = guest.Queue(0).Read(0);
        guest.Kick(0).RunUntil(() => read.IsUsed);
        Assert.All(Enumerable.Range(0, guest.Device.RequestKinds.Count), kind =>
            Assert.Null(guest.Device.Queues[0].Statistics.LatencyOf(kind)));
    }

    [Fact]
    public void Errors_are_counted_by_kind_of_operation()
    {
        FaultyBackend storage = new()
        { Fault = operation => operation.Kind is BlockOperationKind.Write or BlockOperationKind.Discard ? Errno.NoSpace : Errno.None };
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", storage));
        SimulatedQueue queue = guest.Queue(0);
        DriverRequest[] requests =
            [queue.Write(0, new byte[512]), queue.Write(1, new byte[512]), queue.Segment(BlockRequestType.Discard, 0, 8), queue.Read(0)];
        guest.Kick(0).RunUntil(() => requests.All(request => request.IsUsed));
        BlockDevice disk = (BlockDevice)guest.Device;
        Assert.Equal([0L, 2, 0, 1, 0], disk.Figures.Select(done => done.Errors));
        Assert.Equal(3, disk.HostFaults);
        Assert.Equal(2L, Value(Inspected(guest), "operations", "write", "errors"));
    }

    [Fact]
    public void The_depth_of_a_disk_is_what_it_has_taken_and_not_given_back()
    {
        FaultyBackend storage = new() { Holds = true };
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", storage, new DiskSpec { Queues = 2 }));
        DriverRequest[] requests = [guest.Queue(0).Read(0), guest.Queue(0).Read(1), guest.Queue(1).Read(2)];
        Assert.Equal(0, guest.Device.InFlight);
        guest.Kick(0).Kick(1).RunUntil(() => storage.Held == requests.Length);
        Assert.Equal(requests.Length, guest.Device.InFlight);
        Assert.Equal((long)requests.Length, Value(Inspected(guest), "in-flight"));
        storage.CompleteHeld();
        guest.RunUntil(() => requests.All(request => request.IsUsed));
        Assert.Equal(0, guest.Device.InFlight);
    }

    [Fact]
    public void A_disk_of_a_server_shows_how_often_it_was_reached_again()
    {
        using NbdTestServer server = new();
        using SimulatedGuest guest = NbdServerGoneTests.Guest(server.Uri, TimeSpan.FromSeconds(60));
        NbdServerGoneTests.Ok(guest, guest.Queue(0).Read(0));
        Assert.Equal(0L, Value(Inspected(guest), "reconnects"));
        server.Cut();
        guest.RunUntil(() => NbdServerGoneTests.Disk(guest).Reconnects == 1);
        Assert.Equal(1L, Value(Inspected(guest), "reconnects"));
        using SimulatedGuest other = SimulatedGuest.For(new BlockDevice("vdb", new MemoryDisk(1 << 20)));
        Assert.DoesNotContain(Inspected(other).Entries, entry => entry.Key == "reconnects");
    }

    [Fact]
    public void A_listener_of_the_meter_gets_depth_errors_and_reconnects()
    {
        FaultyBackend storage = new() { Fault = operation => operation.Kind == BlockOperationKind.Flush ? Errno.InputOutput : Errno.None };
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", storage));
        DriverRequest flush = guest.Queue(0).Ask(BlockRequestType.Flush);
        guest.Kick(0).RunUntil(() => flush.IsUsed);
        using NbdTestServer server = new();
        using BlockDevice remote = new("vdb", NbdDisk.Open(server.Uri, readOnly: false, TimeSpan.Zero));
        using DeviceMeter meter = new(() => [guest.Device, remote]);
        List<string> seen = [];
        using MeterListener listener = new();
        listener.InstrumentPublished = (instrument, each) =>
        {
            if (instrument.Meter.Name == DeviceMeter.Name) each.EnableMeasurementEvents(instrument);
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) =>
            seen.Add($"{instrument.Name} {string.Join(' ', tags.ToArray().Select(tag => tag.Value))} {value}"));
        listener.Start();
        listener.RecordObservableInstruments();
        Assert.Contains("vmm.disk.errors vda flush 1", seen);
        Assert.Contains("vmm.disk.errors vda read 0", seen);
        Assert.Contains("vmm.device.in_flight vda 0", seen);
        Assert.Contains("vmm.disk.reconnects vdb 0", seen);
        // A disk that had no driver yet, and storage that is not connected to.
        Assert.DoesNotContain(seen, line => line.StartsWith("vmm.disk.errors vdb", StringComparison.Ordinal)
            || line.StartsWith("vmm.disk.reconnects vda", StringComparison.Ordinal));
    }

    private static InspectNode Inspected(SimulatedGuest guest)
    {
        InspectNode node = new();
        guest.Device.Inspect(node);
        return node;
    }

    private static object Value(InspectNode node, params string[] path)
    {
        object at = node;
        foreach (string name in path) at = ((InspectNode)at).Entries.Single(entry => entry.Key == name).Value;
        return at;
    }
}
