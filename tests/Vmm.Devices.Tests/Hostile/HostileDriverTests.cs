using Vmm.Devices.Simulation;
using Vmm.Fuzz;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>What no driver may put into a queue, and what it may though few do: on every device.</summary>
public sealed class HostileDriverTests
{
    private const ulong Registers = 0xd000_0000;
    private const ulong Scratch = HostileGuest.MemoryBytes - (1 << 20);
    private const int CutsMax = 40;
    private const byte Guard = 0xee;
    private const int GuardBytes = 64;

    /// <summary>Chains each of which must be refused, by name.</summary>
    private static readonly Dictionary<string, Action<DriverQueue>> Malformed = new()
    {
        ["a readable buffer after a writable one"] = ring => Poke(ring, (Scratch, 16, RawDriver.Write), (Scratch, 16, 0)),
        ["a chain of more than 4 GiB"] = ring => Poke(ring, [.. Enumerable.Repeat((0UL, 32u << 20, (ushort)0), 129)]),
        ["an indirect table of a length that is no multiple"] = ring => Poke(ring, (Scratch, 17, RawDriver.Indirect)),
        ["an indirect table without an entry"] = ring => Poke(ring, (Scratch, 0, RawDriver.Indirect)),
        ["an indirect table behind the end of memory"] = ring => Poke(ring, (HostileGuest.MemoryBytes, 32, RawDriver.Indirect)),
        ["an indirect table over the end of memory"] = ring => Poke(ring, (HostileGuest.MemoryBytes - 16, 32, RawDriver.Indirect)),
        ["an indirect table on the device's own registers"] = ring => Poke(ring, (Registers, 32, RawDriver.Indirect)),
        ["an indirect table in an indirect table"] = ring => RawDriver.PokeIndirectChain(ring, Scratch, [(Scratch, 16, RawDriver.Indirect)]),
        ["an indirect table with a successor"] = ring => Poke(ring, (Scratch, 16, RawDriver.Indirect), (Scratch, 16, 0)),
        ["a chain without end"] = NeverEnds,
    };

    /// <summary>Buffers no chain may name, be they read or written.</summary>
    private static readonly Dictionary<string, (ulong Address, uint Length)> Misplaced = new()
    {
        ["behind the end of memory"] = (HostileGuest.MemoryBytes, 16),
        ["over the end of memory"] = (HostileGuest.MemoryBytes - 8, 16),
        ["over the hole between two regions"] = (HostileGuest.MemoryBytes - 8, (1 << 20) + 16),
        ["over the end of the last region"] = (HostileGuest.ExtraStart + HostileGuest.ExtraBytes - 8, 16),
        ["whose end wraps"] = (ulong.MaxValue - 7, 16),
        ["of nearly 4 GiB"] = (0, uint.MaxValue - 64),
        ["of 4 GiB less a byte"] = (0, uint.MaxValue),
        ["on the device's own registers"] = (Registers, 16),
    };

    /// <summary>What only a split ring has to get wrong.</summary>
    private static readonly Dictionary<string, Action<SplitDriverQueue>> MalformedSplit = new()
    {
        ["a successor beyond the table"] = ring =>
        {
            ring.WriteDescriptor(0, Scratch, 16, RawDriver.Next, ushort.MaxValue);
            ring.MakeAvailable(0);
        },
        ["a descriptor that is its own successor"] = ring =>
        {
            ring.WriteDescriptor(0, Scratch, 0, RawDriver.Next, 0);
            ring.MakeAvailable(0);
        },
        ["a loop in an indirect table"] = ring =>
        {
            ring.Memory.TryWrite(Scratch, RawDriver.DescriptorBytes(Scratch, 8, RawDriver.Next | (1u << 16)));
            ring.Memory.TryWrite(Scratch + 16, RawDriver.DescriptorBytes(Scratch, 8, RawDriver.Next));
            Poke(ring, (Scratch, 32, RawDriver.Indirect));
        },
        ["a successor beyond an indirect table"] = ring =>
        {
            ring.Memory.TryWrite(Scratch, RawDriver.DescriptorBytes(Scratch, 8, RawDriver.Next | (1u << 16)));
            Poke(ring, (Scratch, 16, RawDriver.Indirect));
        },
        ["a head beyond the table"] = ring => ring.MakeAvailable(ushort.MaxValue),
        ["an available index far ahead"] = ring => ring.AvailableIndex = 0x8000,
        ["an available index one too far ahead"] = ring => ring.AvailableIndex = (ushort)(ring.Size + 1),
        ["an available index that goes back"] = ring => ring.AvailableIndex = ushort.MaxValue,
    };

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "virtio 1.2 § 2.7.5, § 2.7.13 and § 2.8; CVE-2019-18960 (Firecracker: vsock buffer beyond memory), CVE-2024-3446 (QEMU: a device that is made to access itself)")]
    [Trait("Outcome", "needs reset")]
    public void A_malformed_chain_asks_for_a_reset_and_the_device_comes_back(HostileCase @case)
    {
        using HostileGuest hostile = new(@case);
        foreach ((string what, Action<DriverQueue> poke) in MalformedOn(@case))
        {
            foreach (BatteryRequest request in hostile.Requests)
            {
                // On fresh rings: descriptors are poked from the first one on.
                hostile.Guest.Reset().Start();
                poke(hostile.Guest.Queue(request.Queue).Ring);
                hostile.Serve(request);
                Assert.True(hostile.NeedsReset, $"{what} in queue {request.Queue}");
                hostile.AssertWorksAfterReset(what);
            }
        }
    }

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "CVE-2024-7730 (QEMU: virtio-snd input that does not fit the buffer)")]
    [Trait("Outcome", "answered within the buffer, or needs reset")]
    public void A_buffer_that_is_too_small_for_the_answer_is_not_written_beyond(HostileCase @case)
    {
        using HostileGuest hostile = new(@case);
        foreach (BatteryRequest request in hostile.Requests)
        {
            foreach (int room in Cuts(request.Writable))
            {
                SimulatedQueue queue = hostile.Guest.Queue(request.Queue);
                GuestBuffer buffer = queue.Place([.. new byte[room], .. Enumerable.Repeat(Guard, GuardBytes)]);
                DriverRequest made = queue.Add(
                    request.Readable.Length > 0 ? [queue.Place(request.Readable)] : [], room > 0 || request.Readable.Length == 0 ? [buffer with { Length = (uint)room }] : []);
                hostile.Serve(request);
                Assert.InRange(made.UsedLength, 0u, (uint)room);
                byte[] guard = new byte[GuardBytes];
                hostile.Guest.Memory.TryRead(buffer.Address + (ulong)room, guard);
                Assert.All(guard, value => Assert.Equal(Guard, value));
                if (hostile.NeedsReset || !made.IsUsed) hostile.AssertWorksAfterReset($"{room} bytes of room in queue {request.Queue}");
            }
        }
        hostile.AssertWorksAfterReset();
    }

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "a device that reads its header without asking whether all of it is there")]
    [Trait("Outcome", "answered, or needs reset")]
    public void A_request_that_ends_early_is_answered_or_refused(HostileCase @case)
    {
        using HostileGuest hostile = new(@case);
        foreach (BatteryRequest request in hostile.Requests)
        {
            foreach (int length in Cuts(request.Readable.Length))
            {
                if (length == 0 && request.Writable == 0) continue;
                SimulatedQueue queue = hostile.Guest.Queue(request.Queue);
                DriverRequest made = queue.Add(length > 0 ? [request.Readable[..length]] : [], request.Writable > 0 ? [request.Writable] : []);
                hostile.Serve(request);
                Assert.True(made.IsUsed || hostile.NeedsReset || request.Provoke is not null, $"{length} bytes in queue {request.Queue}: no answer");
                Assert.InRange(made.UsedLength, 0u, (uint)request.Writable);
                if (hostile.NeedsReset) hostile.AssertWorksAfterReset($"{length} bytes in queue {request.Queue}");
            }
        }
        hostile.AssertWorksAfterReset();
    }

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "virtio 1.2 § 2.7.4.1; CVE-2022-2132 (DPDK: a vhost header over more descriptors than expected)")]
    [Trait("Outcome", "served")]
    public void A_header_over_three_descriptors_with_empty_ones_between_is_read_whole(HostileCase @case)
    {
        using HostileGuest hostile = new(@case);
        foreach (BatteryRequest request in hostile.Requests)
        {
            int length = request.Readable.Length;
            if (length < 3 || request.IsStream) continue;
            foreach ((int first, int second) in ((int, int)[])[(1, 2), (length / 3, length * 2 / 3), (length - 2, length - 1)])
            {
                SimulatedQueue queue = hostile.Guest.Queue(request.Queue);
                GuestBuffer nothing = new(ulong.MaxValue, 0);
                DriverRequest made = queue.Add(
                    [queue.Place(request.Readable.AsSpan(0, first)), nothing, queue.Place(request.Readable.AsSpan(first, second - first)), nothing, queue.Place(request.Readable.AsSpan(second))],
                    request.Writable > 0 ? [nothing with { Address = 0 }, queue.Place(new byte[request.Writable])] : []);
                hostile.Serve(request);
                hostile.Guest.RunUntil(() => made.IsUsed);
                Assert.Null(request.Complaint(made.Content, made.UsedLength));
            }
        }
    }

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "CVE-2016-6490 (QEMU: an endless loop over descriptors of length 0), in every queue")]
    [Trait("Outcome", "answered, or needs reset")]
    public void A_chain_without_a_byte_is_given_back_or_refused(HostileCase @case)
    {
        using HostileGuest hostile = new(@case);
        foreach (BatteryRequest request in hostile.Requests)
        {
            foreach (bool writable in (bool[])[false, true])
            {
                GuestBuffer[] nothing = [new GuestBuffer(ulong.MaxValue, 0), new GuestBuffer(0, 0)];
                DriverRequest made = hostile.Guest.Queue(request.Queue).Add(writable ? [] : nothing, writable ? nothing : []);
                hostile.Serve(request);
                Assert.True(made.IsUsed || hostile.NeedsReset || request.Provoke is not null, $"queue {request.Queue}: no answer");
                Assert.Equal(0u, made.UsedLength);
                hostile.AssertWorksAfterReset($"nothing in queue {request.Queue}");
            }
        }
    }

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "chains of nothing but a head: a device that looks for the rest behind it")]
    [Trait("Outcome", "answered, or needs reset")]
    public void A_chain_of_a_head_alone_is_answered_or_refused(HostileCase @case)
    {
        using HostileGuest hostile = new(@case);
        foreach (BatteryRequest request in hostile.Requests)
        {
            foreach (int length in (int[])[1, Math.Max(1, request.Readable.Length), Math.Max(1, request.Writable)])
            {
                foreach (bool writable in (bool[])[false, true])
                {
                    SimulatedQueue queue = hostile.Guest.Queue(request.Queue);
                    queue.Ring.UseIndirect = false;
                    GuestBuffer head = queue.Place([.. request.Readable.Take(length), .. new byte[Math.Max(0, length - request.Readable.Length)]]);
                    DriverRequest made = queue.Add(writable ? [] : [head], writable ? [head] : []);
                    hostile.Serve(request);
                    Assert.True(made.IsUsed || hostile.NeedsReset || request.Provoke is not null, $"{length} bytes in queue {request.Queue}: no answer");
                    Assert.InRange(made.UsedLength, 0u, writable ? (uint)length : 0u);
                    hostile.AssertWorksAfterReset($"{length} bytes in queue {request.Queue}");
                }
            }
        }
    }

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "virtio 1.2 § 2.7.5.3.2: WRITE on a descriptor that names a table is ignored")]
    [Trait("Outcome", "served")]
    public void A_write_flag_on_an_indirect_descriptor_changes_nothing(HostileCase @case)
    {
        using HostileGuest hostile = new(@case);
        foreach (BatteryRequest request in hostile.Requests)
        {
            SimulatedQueue queue = hostile.Guest.Queue(request.Queue);
            int head = queue.Ring is PackedDriverQueue packed ? packed.NextAvailable & 0x7fff : 0;
            DriverRequest made = queue.Add(request.Readable.Length > 0 ? [request.Readable] : [], request.Writable > 0 ? [request.Writable] : []);
            if (@case.Indirect) AddWrite(queue.Ring, head);
            hostile.Serve(request);
            hostile.Guest.RunUntil(() => made.IsUsed);
            Assert.Null(request.Complaint(made.Content, made.UsedLength));
            hostile.Guest.Reset().Start();
        }
        hostile.AssertWorksAfterReset();

        // The device has not been kicked yet, so that it has not looked.
        static void AddWrite(DriverQueue ring, int head)
        {
            ulong flags = ring.DescriptorTable + (ulong)head * 16 + (ring is PackedDriverQueue ? 14u : 12u);
            byte[] low = new byte[1];
            Assert.True(ring.Memory.TryRead(flags, low));
            Assert.Equal(RawDriver.Indirect, low[0] & (RawDriver.Indirect | RawDriver.Write));
            Assert.True(ring.Memory.TryWrite(flags, [(byte)(low[0] | RawDriver.Write)]));
        }
    }

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "virtio 1.2 § 2.7.13; CVE-2026-45782 (Cloud Hypervisor: two chains with one head under asynchronous I/O), on every device")]
    [Trait("Outcome", "served one after the other, or needs reset")]
    public void A_head_given_twice_at_once_is_served_one_after_the_other_or_refused(HostileCase @case)
    {
        DeviceBattery battery = DeviceBatteryTests.Devices[@case.Device]();
        VirtioDevice device = battery.Make();
        using FuzzMachine machine = new(device, @case.Poller);
        foreach (BatteryRequest request in battery.Requests)
        {
            machine.Start(@case.Options.Features, sizeMax: 64);
            machine.Turn(turnsMax: 10);
            machine.Memory.TryWrite(FuzzMachine.BufferStart, request.Readable);
            long before = device.QueueStatistics[request.Queue].Requests;
            GiveTwice(machine.Rings[request.Queue]!, request);
            machine.Registers.Kick(request.Queue);
            machine.Turn(turnsMax: 1_000);
            for (int time = 0; time < 2; time++)
            {
                request.Provoke?.Invoke(device);
                machine.Turn(turnsMax: 1_000);
            }
            long served = device.QueueStatistics[request.Queue].Requests - before;
            bool refused = machine.Registers.Status.HasFlag(DeviceStatus.NeedsReset);
            Assert.True(served == 2 || refused || request.Provoke is not null, $"queue {request.Queue}: {served} of two were served");
            Assert.InRange(served, 0, 2);
            machine.AskWitness();
            machine.Reset(() => _ = request.Complaint(new byte[request.Writable], 0));
        }
        machine.Start(@case.Options.Features, sizeMax: 64);
        foreach (BatteryRequest request in battery.Requests) machine.Prove(request);

        static void GiveTwice(DriverQueue ring, BatteryRequest request)
        {
            (ulong, uint, ushort)[] chain =
            [
                .. request.Readable.Length > 0 ? [(FuzzMachine.BufferStart, (uint)request.Readable.Length, (ushort)0)] : Array.Empty<(ulong, uint, ushort)>(),
                .. request.Writable > 0 ? [(FuzzMachine.BufferStart + 8192, (uint)request.Writable, RawDriver.Write)] : Array.Empty<(ulong, uint, ushort)>(),
            ];
            if (ring is PackedDriverQueue) RawDriver.PokeChain(ring, chain, from: chain.Length);
            RawDriver.PokeChain(ring, chain);
            if (ring is SplitDriverQueue split) split.MakeAvailable(0);
        }
    }

    private static IEnumerable<KeyValuePair<string, Action<DriverQueue>>> MalformedOn(HostileCase @case)
    {
        foreach (KeyValuePair<string, Action<DriverQueue>> any in Malformed) yield return any;
        foreach ((string where, (ulong address, uint length)) in Misplaced)
        {
            yield return new($"a buffer to read {where}", ring => Poke(ring, (address, length, 0)));
            yield return new($"a buffer to write {where}", ring => Poke(ring, (address, length, RawDriver.Write)));
            if (@case.Indirect) yield return new($"a buffer in a table {where}", ring => RawDriver.PokeIndirectChain(ring, Scratch, [(address, length, 0)]));
        }
        if (@case.Packed) yield break;
        foreach ((string what, Action<SplitDriverQueue> poke) in MalformedSplit) yield return new(what, ring => poke((SplitDriverQueue)ring));
    }

    private static IEnumerable<int> Cuts(int length)
    {
        int step = Math.Max(1, length / CutsMax);
        for (int cut = 0; cut < length; cut += step) yield return cut;
    }

    private static void Poke(DriverQueue ring, params (ulong Address, uint Length, ushort Flags)[] chain)
    {
        // Long chains do not fit the ring of every device.
        if (chain.Length <= ring.Size) RawDriver.PokeChain(ring, chain);
        else if ((ring.Features & VirtioFeatures.IndirectDescriptors) != 0) RawDriver.PokeIndirectChain(ring, Scratch, chain);
        else NeverEnds(ring);
    }

    private static void NeverEnds(DriverQueue ring)
    {
        for (int i = 0; i < ring.Size; i++)
        {
            if (ring is PackedDriverQueue packed) packed.WriteDescriptor(i, Scratch, 8, 0, (ushort)(RawDriver.Next | packed.AvailableFlags));
            else ((SplitDriverQueue)ring).WriteDescriptor(i, Scratch, 8, RawDriver.Next, (ushort)((i + 1) % ring.Size));
        }
        if (ring is SplitDriverQueue split) split.MakeAvailable(0);
    }
}
