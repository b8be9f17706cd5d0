using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>What front-ends other than QEMU do within the protocol, or a little outside of it, each with the name of one that does it.</summary>
public abstract class OtherFrontEndTests(PollerKind poller) : PollerSuite(poller)
{
    private const ulong MemoryBytes = 16 << 20;

    /// <summary>User Mode Linux: count 1, and a message as long as one of two regions.</summary>
    [Fact]
    public void A_memory_table_with_room_for_more_regions_is_taken()
    {
        using ServedDevice served = new(new ScriptedDevice(VirtioDeviceType.Block));
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        using GuestMemory memory = GuestMemory.Create(DiskDriver.MemoryBytes);
        byte[] slot = VhostUserFrontend.SlotPayload(memory.Regions[0]);
        byte[] table = [1, 0, 0, 0, 0, 0, 0, 0, .. slot[8..], .. new byte[MessageShape.RegionBytes]];
        frontend.Do(VhostUserRequest.SetMemoryTable, table, [memory.Regions[0].File.Number]);
        // It is there: it can be removed.
        frontend.Do(VhostUserRequest.RemoveMemoryRegion, slot, []);
    }

    /// <summary>User Mode Linux: calls are read from a stream socket, and the kick is an eventfd.</summary>
    [Fact]
    public void A_call_over_a_stream_socket_comes_for_each_request()
    {
        using ServedDevice served = new(new ScriptedDevice(VirtioDeviceType.Block));
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        using DiskDriver driver = new(frontend);
        (UnixSocket ours, UnixSocket theirs) = UnixSocket.Pair();
        using (ours)
        {
            frontend.Do(VhostUserRequest.SetVringCall, VhostUserFrontend.RingWord(0), [theirs.Number]);
            theirs.Dispose();
            // The ring ran when its call was replaced: one call, in case one was lost.
            AssertCalled(ours);
            Assert.False(driver.Queue.EnableInterrupts(), "nothing is used yet");
            driver.SubmitWrite(0);
            AssertCalled(ours);
            driver.WaitUsed();
        }
    }

    /// <summary>User Mode Linux makes every ring 256 entries long, a console's and a vsock's event queue too; crosvm asks for 1024.</summary>
    [Theory]
    [InlineData(512, false)]
    [InlineData(512, true)]
    [InlineData(32768, false)]
    [InlineData(32768, true)]
    [InlineData(300, true)]
    [InlineData(3, true)]
    public void A_ring_of_any_size_that_its_format_allows_works(int size, bool packed)
    {
        ScriptedDevice device = new(VirtioDeviceType.Block);
        using ServedDevice served = new(device);
        using Rig rig = new(served, (ushort)size, packed);
        int requests = Math.Min(2 * size + 1, 3000);
        for (int i = 0; i < requests; i++) rig.Request();
        Assert.Equal(0, device.GuestFaults);
    }

    /// <summary>User Mode Linux gives each ring 256 entries: more than the bound that each of these has for a guest of its own.</summary>
    [Theory]
    [InlineData("rng", 256)]
    [InlineData("rng", 32768)]
    [InlineData("console", 256)]
    [InlineData("console", 32768)]
    [InlineData("vsock", 256)]
    [InlineData("vsock", 32768)]
    public void Devices_with_short_rings_of_their_own_serve_a_front_ends_long_ones(string kind, int size)
    {
        using VirtioDevice device = kind switch
        {
            "rng" => new EntropyDevice("rng0"),
            "console" => new ConsoleDevice("console0", new ConsolePort("console0", isConsole: true)),
            _ => new VsockDevice("vsock0", 42, Path.Combine(Path.GetTempPath(), $"vmm-long-{Guid.NewGuid():n}")),
        };
        using ServedDevice served = new(device);
        using Rig rig = new(served, (ushort)size, packed: false, ring: kind == "rng" ? 0 : 1, isWritable: kind == "rng");
        for (int i = 0; i < 600; i++) rig.Request();
    }

    [Theory]
    [InlineData(300)]
    [InlineData(3)]
    public void A_split_ring_whose_size_is_no_power_of_two_is_refused(int size)
    {
        using ServedDevice served = new(new ScriptedDevice(VirtioDeviceType.Block));
        Assert.Throws<VhostUserException>(() => new Rig(served, (ushort)size, packed: false));
    }

    [Fact]
    public void Everything_of_a_ring_longer_than_the_device_has_can_be_in_flight_at_once()
    {
        const ushort Size = 4096;
        ScriptedDevice device = new(VirtioDeviceType.Block) { HoldsRequests = true };
        using ServedDevice served = new(device);
        using Rig rig = new(served, Size, packed: false);
        for (int i = 0; i < Size; i++) Assert.True(rig.Queue.TryAdd([rig.Buffer], [], out _));
        rig.Ring.PublishAndKick();
        Assert.True(SpinWait.SpinUntil(() => device.Held == Size, TimeSpan.FromSeconds(30)), $"{device.Held} are in flight");
        served.Remote.Post(_ => device.Release(Size));
        for (int i = 0; i < Size; i++) Assert.True(SpinWait.SpinUntil(() => rig.Queue.TryCollect(out _), TimeSpan.FromSeconds(30)));
    }

    /// <summary>DPDK's virtio-user: 0x8000, the upper half zero; User Mode Linux: 0. The document asks for 0x80008000.</summary>
    [Theory]
    [InlineData(0x80008000u)]
    [InlineData(0x00008000u)]
    [InlineData(0u)]
    public void A_fresh_packed_ring_starts_whichever_way_its_base_is_said(uint start)
    {
        using ServedDevice served = new(new ScriptedDevice(VirtioDeviceType.Block));
        using Rig rig = new(served, 16, packed: true, start);
        for (int i = 0; i < 100; i++) rig.Request();
    }

    [Fact]
    public void A_request_that_was_made_before_a_fresh_packed_ring_was_started_is_served()
    {
        using ServedDevice served = new(new ScriptedDevice(VirtioDeviceType.Block));
        using Rig rig = new(served, 16, packed: true, start: 0, before: queue => queue.Publish());
        rig.WaitUsed();
        rig.Request();
    }

    [Fact]
    public void A_packed_ring_that_went_round_once_goes_on_at_base_0_in_another_process()
    {
        using ServedDevice one = new(new ScriptedDevice(VirtioDeviceType.Block)), other = new(new ScriptedDevice(VirtioDeviceType.Block));
        using Rig rig = new(one, 16, packed: true);
        for (int i = 0; i < 16; i++) rig.Request();
        Assert.Equal(0u, rig.Frontend.StopRing(0));
        using VhostUserFrontend next = HostileFrontEndTests.NegotiatedWith(other);
        next.Do(VhostUserRequest.SetFeatures, BitConverter.GetBytes(rig.Frontend.Features), []);
        next.ShareMemory(rig.Memory);
        next.StartRing(rig.Ring, baseIndex: 0);
        for (int i = 0; i < 100; i++) rig.Request();
    }

    [Fact]
    public void A_packed_ring_that_stopped_after_a_lap_goes_on_at_base_0_in_the_same_connection()
    {
        using ServedDevice served = new(new ScriptedDevice(VirtioDeviceType.Block));
        using Rig rig = new(served, 16, packed: true);
        for (int i = 0; i < 16; i++) rig.Request();
        Assert.Equal(0u, rig.Frontend.StopRing(0));
        // As after a chain that went over the end of the lap before: the ring's first descriptor was never written as used in this lap.
        byte[] flags = new byte[2];
        Assert.True(rig.Memory.TryRead(rig.Queue.DescriptorTable + 14, flags));
        BinaryPrimitives.WriteUInt16LittleEndian(flags, (ushort)(BinaryPrimitives.ReadUInt16LittleEndian(flags) & 0x7fff));
        Assert.True(rig.Memory.TryWrite(rig.Queue.DescriptorTable + 14, flags));
        rig.Frontend.StartRing(rig.Ring, baseIndex: 0);
        for (int i = 0; i < 100; i++) rig.Request();
    }

    /// <summary>User Mode Linux, whose driver is unbound and bound: the ring is disabled, and a fresh one begins at 0 wherever that was.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(16)]
    [InlineData(32)]
    public void A_packed_ring_that_another_driver_made_anew_starts_at_base_0_in_the_same_connection(int requests)
    {
        using ServedDevice served = new(new ScriptedDevice(VirtioDeviceType.Block));
        using Rig rig = new(served, 16, packed: true, start: 0);
        for (int i = 0; i < requests; i++) rig.Request();
        rig.Frontend.Do(VhostUserRequest.SetVringEnable, new byte[8], []);
        rig.BindAnew();
        for (int i = 0; i < 100; i++) rig.Request();
    }

    /// <summary>QEMU's vhost-user-input acknowledges bit 40, which no device offers.</summary>
    [Fact]
    public void A_feature_bit_that_was_never_offered_is_said_once_at_debug_level()
    {
        using ServedDevice served = new(new ScriptedDevice(VirtioDeviceType.Block));
        for (int i = 0; i < 2; i++)
        {
            using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
            frontend.Do(VhostUserRequest.SetFeatures, BitConverter.GetBytes(frontend.Features | 1UL << 40), []);
        }
        Assert.Equal((LogLevel.Debug, "scripted: the front-end acknowledged features that were not offered: 0x10000000000"),
            Assert.Single(served.Log.Entries, entry => entry.Line.Contains("not offered", StringComparison.Ordinal)));
    }

    /// <summary>QEMU asks for as many queues as the machine has processors, and refuses a disk with fewer.</summary>
    [Fact]
    public void A_queue_costs_nothing_before_it_is_started()
    {
        using TemporaryImage image = new(sectors: 64);
        using ServedDevice served = new(image.OpenDevice(queues: 64));
        using DiskDriver disk = new(served.Connect(), ring: 63);
        Assert.Equal(64, disk.Frontend.QueuesMax);
        disk.WriteSector(5, 0xa5);
        Assert.Equal(0xa5, image.ReadByte(5 * 512));
        Assert.Equal(0, served.Backend.Statistics.Take(63).Sum(queue => queue.Requests));
    }

    private static void AssertCalled(UnixSocket socket)
    {
        Assert.True(socket.WaitReadable(30_000), "no call came");
        ulong[] word = new ulong[1];
        Assert.Equal(Errno.None, socket.Receive(MemoryMarshal.AsBytes(word.AsSpan()), out uint received));
        Assert.Equal((8u, 1UL), (received, word[0]));
    }

    /// <summary>A driver with one ring of any size and kind, and requests of one buffer.</summary>
    private sealed class Rig : IDisposable
    {
        private readonly GuestAllocator _allocator = new(0, MemoryBytes);

        private readonly bool _isWritable;

        internal Rig(ServedDevice served, ushort size, bool packed, uint? start = null, Action<DriverQueue>? before = null, int ring = 0, bool isWritable = false)
        {
            _isWritable = isWritable;
            Frontend = served.Connect();
            Frontend.Negotiate(VirtioFeatures.EventIndex | (packed ? VirtioFeatures.PackedRing : 0));
            Frontend.ShareMemory(Memory);
            Queue = DriverQueue.Create(Memory, _allocator, size, Frontend.Features);
            Buffer = new GuestBuffer(_allocator.Allocate(64), 64);
            if (before is not null)
            {
                Assert.True(Queue.TryAdd([Buffer], [], out _));
                before(Queue);
            }
            Ring = Frontend.StartRing(ring, Queue, start);
        }

        internal GuestMemory Memory { get; } = GuestMemory.Create(MemoryBytes);

        internal VhostUserFrontend Frontend { get; }

        internal DriverQueue Queue { get; private set; }

        internal VhostUserRing Ring { get; private set; }

        internal GuestBuffer Buffer { get; }

        /// <summary>Gives the ring to another driver.</summary>
        internal void BindAnew()
        {
            Ring.Dispose();
            Queue.Dispose();
            Queue = DriverQueue.Create(Memory, _allocator, 16, Frontend.Features);
            Ring = Frontend.StartRing(0, Queue, baseIndex: 0);
        }

        internal void Request()
        {
            Assert.True(_isWritable ? Queue.TryAdd([], [Buffer], out _) : Queue.TryAdd([Buffer], [], out _));
            Ring.PublishAndKick();
            WaitUsed();
        }

        internal void WaitUsed() =>
            Assert.True(SpinWait.SpinUntil(() => Queue.TryCollect(out _), TimeSpan.FromSeconds(30)), "the request is not done");

        public void Dispose()
        {
            Frontend.Dispose();
            Ring.Dispose();
            Queue.Dispose();
            Memory.Dispose();
        }
    }
}

public sealed class OtherFrontEndOnEpollTests() : OtherFrontEndTests(PollerKind.Epoll);

public sealed class OtherFrontEndOnIoRingTests() : OtherFrontEndTests(PollerKind.IoRing);
