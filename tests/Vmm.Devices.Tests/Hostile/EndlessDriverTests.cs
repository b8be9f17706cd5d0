using Vmm.Devices.Simulation;
using Vmm.Fuzz;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>
/// What a driver can do again and again, or at the same time as the device: on every device. VMM_HOSTILE_REPEATS says how often, 1 000 times by default.
/// </summary>
public sealed class EndlessDriverTests
{
    private const int Rounds = 200;
    private const int Turns = 200;
    private const long ResetBytesMax = 512 * 1024;
    private const long GrowthBytesMax = 4 << 20;

    /// <summary>The simulated guest lays out new rings at each start, and has room for so many.</summary>
    private const int ResetsPerGuest = 1_000;
    private static readonly TimeSpan Moment = TimeSpan.FromMilliseconds(5);

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "double fetch: a request rewritten by another thread between its check and its use")]
    [Trait("Outcome", "answered, or needs reset")]
    public void A_request_rewritten_while_it_is_served_is_answered_or_refused(HostileCase @case)
    {
        using HostileGuest hostile = new(@case);
        foreach (BatteryRequest request in hostile.Requests.Where(request => request.Readable.Length > 0))
        {
            SimulatedQueue queue = hostile.Guest.Queue(request.Queue);
            ulong place = queue.Place(request.Readable).Address, answer = request.Writable > 0 ? queue.Place(new byte[request.Writable]).Address : 0;
            using CancellationTokenSource stop = new();
            Thread racer = new(() => Rewrite(hostile.Guest.Memory, place, request.Readable, stop.Token));
            racer.Start();
            try
            {
                for (int round = 0; round < Rounds; round++)
                {
                    if (hostile.NeedsReset || hostile.Guest.Queue(request.Queue).Ring.Free < 8) hostile.Guest.Reset().Start();
                    DriverRequest made = hostile.Guest.Queue(request.Queue).Add(
                        [new GuestBuffer(place, (uint)request.Readable.Length)], request.Writable > 0 ? [new GuestBuffer(answer, (uint)request.Writable)] : []);
                    hostile.Serve(request);
                    Assert.InRange(made.UsedLength, 0u, (uint)request.Writable);
                }
            }
            finally
            {
                stop.Cancel();
                racer.Join();
            }
        }
        hostile.AssertWorksAfterReset();
    }

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "CVE-2019-3900 (Linux: vhost without a weight for a turn), CVE-2026-16457 (QEMU: a packed ring that is never empty)")]
    [Trait("Outcome", "served a turn at a time; its neighbour is served")]
    public void A_driver_that_never_stops_adding_gets_its_turn_and_its_neighbour_too(HostileCase @case)
    {
        DeviceBattery battery = DeviceBatteryTests.Devices[@case.Device]();
        VirtioDevice device = battery.Make();
        using FuzzMachine machine = new(device, @case.Poller);
        foreach (BatteryRequest request in battery.Requests)
        {
            machine.Start(@case.Options.Features, sizeMax: 64);
            machine.Turn(turnsMax: 10);
            machine.Memory.TryWrite(FuzzMachine.BufferStart, request.Readable);
            DriverQueue ring = machine.Rings[request.Queue]!;
            using CancellationTokenSource stop = new();
            Thread racer = new(() => AddForEver(ring, request, stop.Token));
            racer.Start();
            try
            {
                for (int turn = 0; turn < Turns; turn++)
                {
                    long before = Served(device);
                    machine.Registers.Kick(request.Queue);
                    machine.Reactor.RunOnce(TimeSpan.Zero);
                    // A turn of the reactor serves a queue once for the driver's kick, and once for our own.
                    Assert.InRange(Served(device) - before, 0, 2 * TurnBudget.ChainsMaxDefault * device.Queues.Count);
                    if (turn % 16 != 0) continue;
                    machine.AskWitness();
                    // Whoever looks at an answer takes it off the wire: a far end that never reads holds its device up, as it should.
                    _ = request.Complaint(new byte[request.Writable], 0);
                }
            }
            finally
            {
                stop.Cancel();
                racer.Join();
            }
            machine.Reset(() => _ = request.Complaint(new byte[request.Writable], 0));
        }
        machine.Start(@case.Options.Features, sizeMax: 64);
        foreach (BatteryRequest request in battery.Requests) machine.Prove(request);
    }

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "CVE-2022-26353, CVE-2022-26354 (QEMU: error paths that leak an element)")]
    [Trait("Outcome", "memory stays flat")]
    public void Faults_and_resets_without_end_leave_memory_flat(HostileCase @case)
    {
        using HostileGuest hostile = new(@case);
        BatteryRequest request = hostile.Requests[0];
        FailAndReset(hostile, request, times: 10);
        long first = GC.GetAllocatedBytesForCurrentThread();
        long held = GC.GetTotalMemory(forceFullCollection: true);
        int repeats = HostileCase.Repeats(1_000), times = Math.Min(repeats, ResetsPerGuest);
        FailAndReset(hostile, request, times);
        long each = (GC.GetAllocatedBytesForCurrentThread() - first) / times;
        Assert.True(each < ResetBytesMax, $"{each} bytes for each reset");
        Assert.InRange(hostile.Guest.Device.GuestFaults, times, long.MaxValue);
        for (int left = repeats - times; left > 0; left -= ResetsPerGuest)
        {
            using HostileGuest next = new(@case);
            FailAndReset(next, next.Requests[0], Math.Min(left, ResetsPerGuest));
            next.AssertWorksAfterReset();
        }
        // Other tests run beside this one: a leak of a queue's own memory a time would be more than they hold.
        if (repeats >= 100_000) Assert.InRange(GC.GetTotalMemory(forceFullCollection: true) - held, long.MinValue, GrowthBytesMax);
        hostile.AssertWorksAfterReset();
    }

    [Theory, MemberData(nameof(HostileCase.OfReceivers), MemberType = typeof(HostileCase))]
    [Trait("Device", "console, net, vsock")]
    [Trait("Source", "CVE-2020-16843 (Firecracker: ingress freezes when the receive queue is full); devices that spin until there is a buffer")]
    [Trait("Outcome", "rests; served when refilled")]
    public void Host_data_without_a_receive_buffer_causes_no_wake_up_and_comes_with_the_next_one(HostileCase @case)
    {
        using HostileGuest hostile = new(@case);
        foreach (BatteryRequest request in hostile.Requests.Where(request => request.Provoke is not null && request.Readable.Length == 0))
        {
            request.Provoke!(hostile.Guest.Device);
            hostile.Guest.RunUntilIdle();
            long events = hostile.Guest.Reactor.Statistics.Events;
            for (int i = 0; i < 5; i++) hostile.Guest.Reactor.RunOnce(Moment);
            Assert.Equal(events, hostile.Guest.Reactor.Statistics.Events);
            DriverRequest made = hostile.Guest.Queue(request.Queue).Add(writable: [request.Writable]);
            hostile.Guest.Kick(request.Queue).RunUntil(() => made.IsUsed);
            Assert.Null(request.Complaint(made.Content, made.UsedLength));
        }
    }

    private static long Served(VirtioDevice device) => device.QueueStatistics.Sum(queue => queue.Requests);

    private static void FailAndReset(HostileGuest hostile, BatteryRequest request, int times)
    {
        for (int i = 0; i < times; i++)
        {
            hostile.Guest.Queue(request.Queue).Ring.TryAdd([new GuestBuffer(ulong.MaxValue - 100, 64)], [], out _);
            hostile.Guest.Queue(request.Queue).Ring.Publish();
            hostile.Serve(request);
            hostile.Guest.Reset().Start();
        }
    }

    /// <summary>Switches a request between what it should be and noise.</summary>
    private static void Rewrite(GuestMemory memory, ulong place, byte[] right, CancellationToken stop)
    {
        Random random = new(8);
        byte[] noise = new byte[right.Length];
        while (!stop.IsCancellationRequested)
        {
            memory.TryWrite(place, right);
            right.CopyTo(noise, 0);
            for (int i = random.Next(1, 5); i > 0; i--) noise[random.Next(Math.Min(noise.Length, 64))] = (byte)random.Next(256);
            memory.TryWrite(place, noise);
        }
    }

    /// <summary>Makes every descriptor available again as soon as it can be.</summary>
    private static void AddForEver(DriverQueue ring, BatteryRequest request, CancellationToken stop)
    {
        bool reads = request.Readable.Length > 0;
        (ulong place, uint length) = (FuzzMachine.BufferStart, (uint)(reads ? request.Readable.Length : request.Writable));
        ushort flags = reads ? (ushort)0 : RawDriver.Write;
        if (ring is PackedDriverQueue packed)
        {
            for (ushort available = 0x80; !stop.IsCancellationRequested; available ^= 0x8080)
            {
                for (int i = 0; i < ring.Size; i++) packed.WriteDescriptor(i, place, length, (ushort)i, (ushort)(flags | available));
            }
            return;
        }
        SplitDriverQueue split = (SplitDriverQueue)ring;
        for (int i = 0; i < ring.Size; i++)
        {
            split.WriteDescriptor(i, place, length, flags, 0);
            split.WriteAvailable(i, (ushort)i);
        }
        // As far ahead of the used index as a ring allows, at any time.
        while (!stop.IsCancellationRequested) split.AvailableIndex = (ushort)(split.UsedIndex + ring.Size);
    }
}
