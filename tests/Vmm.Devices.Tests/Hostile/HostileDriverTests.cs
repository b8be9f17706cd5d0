using Vmm.Devices.Simulation;

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
        ["a buffer behind the end of memory"] = ring => Poke(ring, (HostileGuest.MemoryBytes, 16, 0)),
        ["a buffer over the end of memory"] = ring => Poke(ring, (HostileGuest.MemoryBytes - 8, 16, 0)),
        ["a buffer whose end wraps"] = ring => Poke(ring, (ulong.MaxValue - 7, 16, 0)),
        ["a buffer of nearly 4 GiB"] = ring => Poke(ring, (0, uint.MaxValue - 64, 0)),
        ["a buffer on the device's own registers"] = ring => Poke(ring, (Registers, 16, 0)),
        ["a readable buffer after a writable one"] = ring => Poke(ring, (Scratch, 16, RawDriver.Write), (Scratch, 16, 0)),
        ["a chain of more than 4 GiB"] = ring => Poke(ring, [.. Enumerable.Repeat((0UL, 32u << 20, (ushort)0), 129)]),
        ["an indirect table of a length that is no multiple"] = ring => Poke(ring, (Scratch, 17, RawDriver.Indirect)),
        ["an indirect table behind the end of memory"] = ring => Poke(ring, (HostileGuest.MemoryBytes, 32, RawDriver.Indirect)),
        ["an indirect table on the device's own registers"] = ring => Poke(ring, (Registers, 32, RawDriver.Indirect)),
        ["an indirect table in an indirect table"] = ring => RawDriver.PokeIndirectChain(ring, Scratch, [(Scratch, 16, RawDriver.Indirect)]),
        ["a chain without end"] = NeverEnds,
        ["a successor beyond the table"] = ring => Split(ring, split =>
        {
            split.WriteDescriptor(0, Scratch, 16, RawDriver.Next, ushort.MaxValue);
            split.MakeAvailable(0);
        }),
        ["a head beyond the table"] = ring => Split(ring, split => split.MakeAvailable(ushort.MaxValue)),
        ["an available index far ahead"] = ring => Split(ring, split => split.AvailableIndex = 0x8000),
    };

    [Theory, MemberData(nameof(HostileCase.All), MemberType = typeof(HostileCase))]
    [Trait("Source", "virtio 1.2 § 2.7.5, § 2.7.13 and § 2.8; CVE-2019-18960 (Firecracker: vsock buffer beyond memory), CVE-2024-3446 (QEMU: a device that is made to access itself)")]
    [Trait("Outcome", "needs reset")]
    public void A_malformed_chain_asks_for_a_reset_and_the_device_comes_back(HostileCase @case)
    {
        using HostileGuest hostile = new(@case);
        foreach ((string what, Action<DriverQueue> poke) in Malformed)
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

    /// <summary>What only a split ring has; a packed one gets another malformed chain in its place.</summary>
    private static void Split(DriverQueue ring, Action<SplitDriverQueue> poke)
    {
        if (ring is SplitDriverQueue split) poke(split);
        else NeverEnds(ring);
    }
}
