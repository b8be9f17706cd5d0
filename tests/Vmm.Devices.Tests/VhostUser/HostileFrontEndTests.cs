using System.Buffers.Binary;
using System.IO.Pipes;
using Microsoft.Win32.SafeHandles;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>
/// What a front-end may get wrong, by mistake or to do harm: each time the request is refused, no descriptor stays behind, and whoever comes next is
/// served.
/// </summary>
[Trait("Device", "the front-end itself"), Trait("Rings", "any")]
public abstract class HostileFrontEndTests(PollerKind poller) : PollerSuite(poller)
{
    private const ulong Page = 4096;

    public static TheoryData<string> Requests => [.. Enum.GetNames<VhostUserRequest>().Where(name => name != nameof(VhostUserRequest.None))];

    [Theory]
    [MemberData(nameof(Requests))]
    [Trait("Source", "each request with too much, too little, and descriptors too many or none"), Trait("Outcome", "refused; no descriptor stays")]
    public void A_request_of_a_wrong_size_or_with_wrong_descriptors_is_refused(string name)
    {
        VhostUserRequest request = Enum.Parse<VhostUserRequest>(name);
        Assert.True(MessageShape.TryGet(request, out MessageShape shape));
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        using EventFd fd = new();

        List<(int Bytes, int Fds)> wrong = [(shape.PayloadMax + 1, shape.FdsMin), (shape.PayloadMin, shape.FdsMax + 1)];
        if (shape.PayloadMin > 0) wrong.AddRange([(shape.PayloadMin - 1, shape.FdsMin), (0, shape.FdsMin)]);
        if (shape.FdsMin > 0) wrong.Add((shape.PayloadMin, 0));
        wrong.Add((shape.PayloadMin, ReceivedFds.CountMax + 1));
        foreach ((int bytes, int fds) in wrong)
        {
            using VhostUserFrontend frontend = NegotiatedWith(served);
            AssertRefused(frontend, request, new byte[bytes], [.. Enumerable.Repeat(fd.Number, fds)]);
        }
        AssertNextIsServed(served);
        Assert.Equal(1, OpenFds.Of(fd));
    }

    [Fact]
    public void Unknown_requests_and_unasked_replies_are_refused()
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        foreach (uint request in new uint[] { 0, 19, 22, 26, 35, 41, 1000, uint.MaxValue })
        {
            using VhostUserFrontend frontend = NegotiatedWith(served);
            AssertRefused(frontend, (VhostUserRequest)request, [], []);
        }
        using (VhostUserFrontend frontend = NegotiatedWith(served))
        {
            byte[] reply = new byte[VhostUserHeader.Bytes];
            VhostUserHeader.ForReply((uint)VhostUserRequest.GetFeatures, 0).Write(reply);
            frontend.Socket.Send(reply, [], out _);
            Assert.Throws<VhostUserException>(() => frontend.Ask(VhostUserRequest.GetFeatures));
        }
        AssertNextIsServed(served);
    }

    [Fact]
    public void A_request_of_a_protocol_feature_that_was_not_negotiated_is_refused()
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        foreach (VhostUserRequest request in Enum.GetValues<VhostUserRequest>())
        {
            if (!MessageShape.TryGet(request, out MessageShape shape) || shape.Needs == ProtocolFeatures.None) continue;
            using EventFd fd = new();
            using VhostUserFrontend frontend = served.Connect();
            AssertRefused(frontend, request, new byte[shape.PayloadMin], [.. Enumerable.Repeat(fd.Number, shape.FdsMin)]);
        }
        AssertNextIsServed(served);
    }

    [Fact]
    [Trait("Source", "regions beyond their file, of no bytes, that overflow, and files that are no memory"), Trait("Outcome", "refused")]
    public void Memory_that_is_not_what_it_claims_is_refused()
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        using GuestRegion good = GuestRegion.Create(0, 16 * Page);
        string path = Path.GetTempFileName();
        File.WriteAllBytes(path, new byte[16 * Page]);
        using SafeFileHandle readOnly = File.OpenHandle(path, FileMode.Open, FileAccess.Read);
        using OwnedFd byPath = FileFlags.OpenPath(path);
        using OwnedFd directory = FileFlags.OpenPath(Path.GetTempPath());
        using EventFd eventFd = new();
        int file = good.File.Number;

        (RegionDescription Layout, int Fd)[] wrong =
        [
            (new(0, 17 * Page, 0, Page), file),
            (new(0, 16 * Page, Page, Page), file),
            (new(0, Page, ulong.MaxValue, Page), file),
            (new(0, Page, 1UL << 63, Page), file),
            (new(0, 0, 0, Page), file),
            (new(0, ulong.MaxValue, 0, Page), file),
            (new(0, 1UL << 50, 0, Page), file),
            (new(ulong.MaxValue - 10, Page, 0, Page), file),
            (new(0, Page, 0, ulong.MaxValue - 10), file),
            (new(0, Page, 0, Page), (int)readOnly.DangerousGetHandle()),
            (new(0, Page, 0, Page), byPath.Number),
            (new(0, Page, 0, Page), directory.Number),
            (new(0, Page, 0, Page), eventFd.Number),
            (new(0, Page, 0, Page), 0),
        ];
        foreach ((RegionDescription layout, int fd) in wrong)
        {
            foreach (bool asTable in new[] { false, true })
            {
                using VhostUserFrontend frontend = NegotiatedWith(served);
                AssertRefused(frontend, asTable ? VhostUserRequest.SetMemoryTable : VhostUserRequest.AddMemoryRegion, asTable ? Table(layout) : Slot(layout), [fd]);
            }
        }
        File.Delete(path);
        AssertNextIsServed(served);
        Assert.Equal(1, OpenFds.Of(eventFd));
    }

    [Fact]
    [Trait("Source", "regions that overlap in guest or front-end addresses"), Trait("Outcome", "refused")]
    public void Memory_regions_that_overlap_are_refused()
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        using GuestRegion region = GuestRegion.Create(0, 16 * Page), other = GuestRegion.Create(0, 16 * Page);
        RegionDescription first = new(0x10000, 4 * Page, 0, 0x7f00_0000_0000);
        foreach (RegionDescription second in new RegionDescription[]
        {
            first,
            first with { UserAddress = 0x7e00_0000_0000 },
            first with { GuestAddress = 0x10000 + (3 * Page), UserAddress = 0x7e00_0000_0000 },
            first with { GuestAddress = 0x80000 },
            first with { GuestAddress = 0x80000, UserAddress = first.UserAddress - Page },
            first with { GuestAddress = 0x80000, UserAddress = first.UserAddress + (3 * Page) },
        })
        {
            using VhostUserFrontend slots = NegotiatedWith(served);
            slots.Do(VhostUserRequest.AddMemoryRegion, Slot(first), [region.File.Number]);
            AssertRefused(slots, VhostUserRequest.AddMemoryRegion, Slot(second), [(second == first ? other : region).File.Number]);
            slots.Dispose();
            using VhostUserFrontend table = NegotiatedWith(served);
            AssertRefused(table, VhostUserRequest.SetMemoryTable, Table(first, second), [region.File.Number, region.File.Number]);
        }
        AssertNextIsServed(served);
    }

    [Fact]
    public void A_region_that_is_added_again_as_it_is_goes_when_it_was_removed_as_often()
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        using GuestRegion region = GuestRegion.Create(0, 16 * Page);
        byte[] slot = Slot(new RegionDescription(0x10000, 4 * Page, 0, 0x7f00_0000_0000));
        using (VhostUserFrontend frontend = NegotiatedWith(served))
        {
            for (int i = 0; i < 3; i++) frontend.Do(VhostUserRequest.AddMemoryRegion, slot, [region.File.Number]);
            for (int i = 0; i < 3; i++) frontend.Do(VhostUserRequest.RemoveMemoryRegion, slot, []);
            AssertRefused(frontend, VhostUserRequest.RemoveMemoryRegion, slot, []);
        }
        AssertNextIsServed(served);
    }

    [Fact]
    public void A_memory_table_whose_count_is_not_what_it_carries_is_refused()
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        using GuestRegion region = GuestRegion.Create(0, 16 * Page);
        foreach (uint count in new uint[] { 0, 2, 9, uint.MaxValue })
        {
            using VhostUserFrontend frontend = NegotiatedWith(served);
            byte[] table = Table(new RegionDescription(0, Page, 0, Page));
            BinaryPrimitives.WriteUInt32LittleEndian(table, count);
            AssertRefused(frontend, VhostUserRequest.SetMemoryTable, table, [region.File.Number]);
        }
        AssertNextIsServed(served);
    }

    [Theory]
    [InlineData(VhostUserRequest.SetVringNum, 0u, 0u)]
    [InlineData(VhostUserRequest.SetVringNum, 0u, 32769u)]
    [InlineData(VhostUserRequest.SetVringNum, 0u, uint.MaxValue)]
    [InlineData(VhostUserRequest.SetVringNum, 1u, 16u)]
    [InlineData(VhostUserRequest.SetVringBase, 0u, 65536u)]
    [InlineData(VhostUserRequest.SetVringBase, uint.MaxValue, 0u)]
    [InlineData(VhostUserRequest.SetVringEnable, 0u, 2u)]
    [InlineData(VhostUserRequest.SetVringEnable, 1u, 1u)]
    [InlineData(VhostUserRequest.GetVringBase, 1u, 0u)]
    [InlineData(VhostUserRequest.GetVringBase, 0x80000000u, 0u)]
    internal void A_ring_number_or_value_out_of_range_is_refused(VhostUserRequest request, uint index, uint value)
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        using VhostUserFrontend frontend = NegotiatedWith(served);
        AssertRefused(frontend, request, VhostUserFrontend.StatePayload((int)index, value), []);
        frontend.Dispose();
        AssertNextIsServed(served);
    }

    [Fact]
    [Trait("Source", "rings outside of memory, over its end, and not aligned"), Trait("Outcome", "refused")]
    public void Ring_addresses_outside_of_memory_or_askew_are_refused()
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        foreach (int part in new[] { 0, 1, 2 })
        {
            foreach (Func<ulong, ulong> bend in new Func<ulong, ulong>[] { a => a + DiskDriver.MemoryBytes, _ => 0, _ => ulong.MaxValue - 8, a => a + 1 })
            {
                using VhostUserFrontend frontend = NegotiatedWith(served);
                using GuestMemory memory = GuestMemory.Create(DiskDriver.MemoryBytes);
                using DriverQueue queue = DriverQueue.Create(memory, new GuestAllocator(0, DiskDriver.MemoryBytes), 16, frontend.Features);
                using EventFd kick = new();
                frontend.ShareMemory(memory);
                byte[] addresses = VhostUserFrontend.AddressPayload(0, queue);
                Span<byte> bent = addresses.AsSpan(8 + (part * sizeof(ulong)));
                BinaryPrimitives.WriteUInt64LittleEndian(bent, bend(BinaryPrimitives.ReadUInt64LittleEndian(bent)));
                AssertSomeStepIsRefused(frontend,
                    (VhostUserRequest.SetVringNum, VhostUserFrontend.StatePayload(0, 16), []),
                    (VhostUserRequest.SetVringAddress, addresses, []),
                    (VhostUserRequest.SetVringKick, VhostUserFrontend.RingWord(0), [kick.Number]),
                    (VhostUserRequest.SetVringEnable, VhostUserFrontend.StatePayload(0, 1), []));
            }
        }
        AssertNextIsServed(served);
    }

    [Fact]
    [Trait("Source", "files, pipes and sockets as kick, call and error"), Trait("Outcome", "refused")]
    public void Kick_call_and_error_descriptors_of_the_wrong_kind_are_refused()
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        using FileStream file = File.OpenWrite(image.Path);
        (UnixSocket a, UnixSocket b) = UnixSocket.Pair();
        using AnonymousPipeServerStream pipe = new(PipeDirection.Out);
        foreach (int fd in new[] { (int)file.SafeFileHandle.DangerousGetHandle(), (int)pipe.SafePipeHandle.DangerousGetHandle(), a.Number, 0 })
        {
            foreach (VhostUserRequest request in new[] { VhostUserRequest.SetVringKick, VhostUserRequest.SetVringCall, VhostUserRequest.SetVringError })
            {
                // A stream socket can be signalled, as User Mode Linux wants it, but not waited for as an eventfd is.
                if (fd == a.Number && request != VhostUserRequest.SetVringKick) continue;
                using VhostUserFrontend frontend = NegotiatedWith(served);
                AssertRefused(frontend, request, VhostUserFrontend.RingWord(0), [fd]);
            }
        }
        using (VhostUserFrontend frontend = NegotiatedWith(served))
        using (EventFd noSocket = new())
        {
            AssertRefused(frontend, VhostUserRequest.SetBackendRequestFd, [], [noSocket.Number]);
        }
        a.Dispose();
        b.Dispose();
        AssertNextIsServed(served);
    }

    [Fact]
    public void A_descriptor_flag_that_is_not_true_and_flags_without_meaning_are_refused()
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        using EventFd fd = new();
        (ulong Word, bool WithFd)[] wrong = [(0x100, true), (0, false), (0x200, true), (1UL << 63, true), (0xff, true)];
        foreach ((ulong word, bool withFd) in wrong)
        {
            using VhostUserFrontend frontend = NegotiatedWith(served);
            AssertRefused(frontend, VhostUserRequest.SetVringCall, BitConverter.GetBytes(word), withFd ? [fd.Number] : []);
        }
        AssertNextIsServed(served);
        Assert.Equal(1, OpenFds.Of(fd));
    }

    /// <summary>All that a whole session says, right in itself: shuffled, some of it twice, some of it not at all.</summary>
    [Fact]
    public void What_is_said_twice_or_out_of_order_is_answered_or_refused()
    {
        const int Sessions = 300;
        int seed = SocketSoakTests.FromEnvironment("VMM_SEED", Environment.TickCount);
        Random random = new(seed);
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        using GuestMemory memory = GuestMemory.Create(DiskDriver.MemoryBytes);
        using InflightRegion logs = InflightRegion.Create(queues: 1, 16);
        using GuestRegion dirty = GuestRegion.Create(0, 16 * Page);
        using EventFd fd = new();
        (UnixSocket channel, UnixSocket reader) = UnixSocket.Pair();
        using DriverQueue queue = DriverQueue.Create(memory, new GuestAllocator(0, DiskDriver.MemoryBytes), 16, VirtioFeatures.Version1);
        byte[] slot = VhostUserFrontend.SlotPayload(memory.Regions[0]), geometry = new byte[24];
        logs.Geometry.Write(geometry);
        ulong logAll = 1UL << 26;
        (VhostUserRequest Request, byte[] Payload, int[] Fds)[] all =
        [
            (VhostUserRequest.GetFeatures, [], []), (VhostUserRequest.GetProtocolFeatures, [], []),
            (VhostUserRequest.SetProtocolFeatures, [.. BitConverter.GetBytes(ProtocolFeaturesOf(served))], []),
            (VhostUserRequest.GetQueueNum, [], []), (VhostUserRequest.SetOwner, [], []), (VhostUserRequest.ResetOwner, [], []),
            (VhostUserRequest.SetFeatures, BitConverter.GetBytes(VirtioFeatures.Version1), []),
            (VhostUserRequest.SetFeatures, BitConverter.GetBytes(VirtioFeatures.Version1 | logAll), []),
            (VhostUserRequest.SetFeatures, BitConverter.GetBytes(VirtioFeatures.Version1 | VirtioFeatures.PackedRing), []),
            (VhostUserRequest.SetMemoryTable, [1, 0, 0, 0, 0, 0, 0, 0, .. slot[8..]], [memory.Regions[0].File.Number]),
            (VhostUserRequest.GetMemorySlotsMax, [], []),
            (VhostUserRequest.AddMemoryRegion, slot, [memory.Regions[0].File.Number]), (VhostUserRequest.RemoveMemoryRegion, slot, []),
            (VhostUserRequest.SetVringNum, VhostUserFrontend.StatePayload(0, 16), []), (VhostUserRequest.SetVringBase, VhostUserFrontend.StatePayload(0, 0), []),
            (VhostUserRequest.SetVringAddress, VhostUserFrontend.AddressPayload(0, queue), []),
            (VhostUserRequest.SetVringKick, VhostUserFrontend.RingWord(0), [fd.Number]), (VhostUserRequest.SetVringCall, VhostUserFrontend.RingWord(0), [fd.Number]),
            (VhostUserRequest.SetVringError, VhostUserFrontend.RingWord(0), [fd.Number]),
            (VhostUserRequest.SetVringEnable, VhostUserFrontend.StatePayload(0, 1), []), (VhostUserRequest.SetVringEnable, VhostUserFrontend.StatePayload(0, 0), []),
            (VhostUserRequest.GetVringBase, VhostUserFrontend.StatePayload(0, 0), []),
            (VhostUserRequest.GetInflightFd, geometry, []), (VhostUserRequest.SetInflightFd, geometry, [logs.File.Number]),
            (VhostUserRequest.SetLogBase, [.. BitConverter.GetBytes(16 * Page), .. new byte[8]], [dirty.File.Number]),
            (VhostUserRequest.SetLogFd, [], [fd.Number]), (VhostUserRequest.SetBackendRequestFd, [], [channel.Number]),
            (VhostUserRequest.GetConfig, [.. new byte[4], 8, 0, 0, 0, .. new byte[12]], []), (VhostUserRequest.GetStatus, [], []),
            (VhostUserRequest.SetStatus, BitConverter.GetBytes((ulong)DeviceStatus.Acknowledge), []), (VhostUserRequest.ResetDevice, [], []),
        ];
        int answered = 0;
        for (int session = 0; session < Sessions; session++)
        {
            // Half of them after what makes most of it right.
            using VhostUserFrontend frontend = session % 2 == 0 ? served.Connect() : NegotiatedWith(served);
            try
            {
                for (int left = random.Next(1, 3 * all.Length); left > 0; left--)
                {
                    (VhostUserRequest request, byte[] payload, int[] fds) = all[random.Next(all.Length)];
                    MessageShape.TryGet(request, out MessageShape shape);
                    // An acknowledgement comes if that was negotiated, and is read with the next reply if nobody waits for it.
                    frontend.Send(request, payload, fds, needsReply: session % 2 != 0);
                    if (shape.HasReply || session % 2 != 0) frontend.Receive(request);
                    answered++;
                }
            }
            catch (VhostUserException gone)
            {
                Assert.False(gone.Message.Contains("does not answer", StringComparison.Ordinal), $"VMM_SEED={seed}: {gone.Message}");
            }
        }
        Assert.True(answered > Sessions, $"VMM_SEED={seed}: only {answered} requests were answered");
        AssertNextIsServed(served);
        Assert.Equal(1, OpenFds.Of(fd));
        channel.Dispose();
        reader.Dispose();
    }

    [Fact]
    public void Rings_asked_for_before_there_is_anything_are_answered()
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        using VhostUserFrontend frontend = served.Connect();
        frontend.Enable(0, true);
        frontend.Enable(0, true);
        Assert.Equal(0u, frontend.StopRing(0));
        frontend.Negotiate(0);
        frontend.Enable(0, false);
        frontend.Do(VhostUserRequest.SetVringBase, VhostUserFrontend.StatePayload(0, 77), []);
        Assert.Equal(77u, frontend.StopRing(0));
    }

    [Fact]
    public void A_feature_bit_that_was_never_offered_is_passed_over()
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        using VhostUserFrontend frontend = NegotiatedWith(served);
        frontend.Do(VhostUserRequest.SetFeatures, BitConverter.GetBytes(frontend.Features | 1UL << 40), []);
        using DiskDriver disk = new(frontend);
        disk.WriteSector(0, 1);
    }

    [Fact]
    [Trait("Source", "memory that its owner shortens under the device (SIGBUS)"), Trait("Outcome", "refused, unless allowed")]
    public void Unsealed_memory_is_refused_with_what_to_do_and_taken_with_one_warning_where_it_is_allowed()
    {
        using TemporaryImage image = new(sectors: 8), other = new(sectors: 8);
        using SharedFile unsealed = new("/dev/shm", 16 * Page);
        using ServedDevice strict = new(image.OpenDevice());
        using (VhostUserFrontend frontend = NegotiatedWith(strict))
        {
            AssertRefused(frontend, VhostUserRequest.AddMemoryRegion, Slot(new RegionDescription(0, Page, 0, Page)), [unsealed.Number]);
        }
        Assert.Single(strict.Log.Lines, line => line.Contains("memory-backend-memfd,share=on", StringComparison.Ordinal) && line.Contains("--allow-unsealed", StringComparison.Ordinal));
        AssertNextIsServed(strict);
        using ServedDevice lenient = new(other.OpenDevice(), allowUnsealed: true);
        for (int i = 0; i < 2; i++)
        {
            using VhostUserFrontend frontend = NegotiatedWith(lenient);
            frontend.Do(VhostUserRequest.AddMemoryRegion, Slot(new RegionDescription(0, Page, 0, Page)), [unsealed.Number]);
            frontend.Do(VhostUserRequest.AddMemoryRegion, Slot(new RegionDescription(Page, Page, Page, 2 * Page)), [unsealed.Number]);
        }
        Assert.Single(lenient.Log.Lines, line => line.Contains("not sealed", StringComparison.Ordinal));
    }

    /// <summary>A page fault on such a file is answered by whatever provides it, at its leisure: FUSE, a network. An ordinary file system stands for it.</summary>
    [Fact]
    [Trait("Source", "memory in a file whose page faults wait for another process"), Trait("Outcome", "refused")]
    public void Memory_in_a_file_of_an_ordinary_file_system_is_refused_even_where_unsealed_memory_is_allowed()
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice(), allowUnsealed: true);
        using SharedFile onDisk = new(AppContext.BaseDirectory, 16 * Page);
        using (VhostUserFrontend frontend = NegotiatedWith(served))
        {
            AssertRefused(frontend, VhostUserRequest.AddMemoryRegion, Slot(new RegionDescription(0, Page, 0, Page)), [onDisk.Number]);
        }
        AssertNextIsServed(served);
    }

    private static ulong ProtocolFeaturesOf(ServedDevice served)
    {
        using VhostUserFrontend frontend = served.Connect();
        return frontend.Ask(VhostUserRequest.GetProtocolFeatures);
    }

    internal static VhostUserFrontend NegotiatedWith(ServedDevice served)
    {
        VhostUserFrontend frontend = served.Connect();
        frontend.Negotiate(VirtioFeatures.EventIndex);
        // Everything there is, so that nothing is refused for want of a feature.
        frontend.Do(VhostUserRequest.SetProtocolFeatures, BitConverter.GetBytes(frontend.Ask(VhostUserRequest.GetProtocolFeatures)), []);
        return frontend;
    }

    internal static void AssertNextIsServed(ServedDevice served)
    {
        using DiskDriver disk = new(served.Connect());
        disk.WriteSector(1, 0x5a);
        Assert.All(disk.ReadSector(1), value => Assert.Equal(0x5a, value));
    }

    /// <summary>A refusal is an acknowledgement other than 0, or the end of the connection.</summary>
    internal static void AssertRefused(VhostUserFrontend frontend, VhostUserRequest request, byte[] payload, int[] fds)
    {
        try
        {
            frontend.Send(request, payload, fds, needsReply: true);
            ReadOnlySpan<byte> reply = frontend.Receive(request);
            Assert.Equal(sizeof(ulong), reply.Length);
            Assert.NotEqual(0UL, BinaryPrimitives.ReadUInt64LittleEndian(reply));
        }
        catch (VhostUserException gone)
        {
            Assert.DoesNotContain("does not answer", gone.Message, StringComparison.Ordinal);
        }
    }

    private static void AssertSomeStepIsRefused(VhostUserFrontend frontend, params (VhostUserRequest Request, byte[] Payload, int[] Fds)[] steps) =>
        Assert.Throws<VhostUserException>(() =>
        {
            foreach ((VhostUserRequest request, byte[] payload, int[] fds) in steps) frontend.Do(request, payload, fds);
        });

    internal static byte[] Slot(in RegionDescription layout) => [.. new byte[8], .. Region(layout)];

    private static byte[] Table(params RegionDescription[] layouts) =>
        [.. BitConverter.GetBytes((ulong)layouts.Length), .. layouts.SelectMany(layout => Region(layout))];

    private static byte[] Region(in RegionDescription layout) =>
    [
        .. BitConverter.GetBytes(layout.GuestAddress), .. BitConverter.GetBytes(layout.Length),
        .. BitConverter.GetBytes(layout.UserAddress), .. BitConverter.GetBytes(layout.FileOffset),
    ];
}

public sealed class HostileFrontEndOnEpollTests() : HostileFrontEndTests(PollerKind.Epoll);

public sealed class HostileFrontEndOnIoRingTests() : HostileFrontEndTests(PollerKind.IoRing);
