using System.Diagnostics;
using System.Runtime.InteropServices;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>A front-end stops a ring while the device is in the middle of a request, as QEMU does for <c>stop</c>, and starts it again.</summary>
public abstract class StopRingTests(PollerKind poller) : PollerSuite(poller)
{
    private const ulong FirstAddress = 1 << 16;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    public static TheoryData<ulong> Rings => [0, VirtioFeatures.EventIndex, VirtioFeatures.PackedRing, VirtioFeatures.PackedRing | VirtioFeatures.EventIndex];

    [Theory, MemberData(nameof(Rings))]
    public void A_console_sends_all_of_a_chain_that_a_stop_interrupted(ulong features)
    {
        const int Transmit = 1;
        (UnixSocket device, UnixSocket host) = UnixSocket.Pair();
        using UnixSocket end = host;
        ConsolePort port = new("console", isConsole: true) { KeepBytes = null };
        port.Connect(null, SerialOutput.To(device));
        using ServedDevice served = new(new ConsoleDevice("console0", port));
        byte[] sent = BlockGuest.Pattern(1 << 20);
        using Rig rig = new(served, features, 8 << 20);
        VhostUserRing ring = rig.Start(Transmit, sent);
        MemoryStream got = new();
        long deadline = Stopwatch.GetTimestamp();
        while (got.Length < sent.Length)
        {
            Assert.True(Stopwatch.GetElapsedTime(deadline) < Patience, $"{got.Length} of {sent.Length} bytes arrived");
            if (!TryTake(host, got)) continue;
            uint stoppedAt = rig.Frontend.StopRing(Transmit);
            ring = rig.Restart(ring, stoppedAt);
        }
        Assert.Equal(sent, got.ToArray());
        rig.AwaitUsed(ring);
        Assert.Equal(1, served.Device.QueueStatistics[Transmit].Requests);
    }

    [Theory, MemberData(nameof(Rings))]
    public void A_balloon_takes_all_pages_of_a_request_that_a_stop_interrupted(ulong features)
    {
        const int Inflate = 0, Pages = 65_536;
        BalloonDevice balloon = new("balloon0");
        using ServedDevice served = new(balloon);
        uint[] numbers = [.. Enumerable.Range(32_768, Pages).Select(page => (uint)page)];
        using Rig rig = new(served, features, 512 << 20);
        VhostUserRing ring = rig.Start(Inflate, MemoryMarshal.AsBytes(numbers.AsSpan()).ToArray());
        for (int i = 0; i < 8; i++)
        {
            uint stoppedAt = rig.Frontend.StopRing(Inflate);
            ring = rig.Restart(ring, stoppedAt);
        }
        rig.AwaitUsed(ring);
        Assert.Equal(Pages * 4096L, balloon.ReturnedBytes);
    }

    [Fact]
    public void A_device_that_is_served_counts_what_it_did_once()
    {
        using TemporaryImage image = new(sectors: 64);
        using ServedDevice served = new(image.OpenDevice());
        using DiskDriver disk = new(served.Connect());
        for (byte i = 0; i < 5; i++) disk.WriteSector(i, i);
        Assert.Equal(5, served.Device.QueueStatistics[0].Requests);
        Assert.Same(served.Device.QueueStatistics[0], served.Backend.Statistics[0]);
    }

    private static bool TryTake(UnixSocket host, MemoryStream got)
    {
        byte[] buffer = new byte[1 << 16];
        if (StreamCalls.Read(host.Number, buffer, out int length) != Errno.None || length == 0) return false;
        got.Write(buffer, 0, length);
        return true;
    }

    /// <summary>A front-end with one ring and one request.</summary>
    private sealed class Rig : IDisposable
    {
        private readonly GuestMemory _memory;
        private readonly DriverQueue _queue;
        private readonly GuestAllocator _allocator;
        private VhostUserRing? _ring;

        internal Rig(ServedDevice served, ulong features, ulong memoryBytes)
        {
            _memory = GuestMemory.Create(memoryBytes);
            _allocator = new GuestAllocator(FirstAddress, memoryBytes - FirstAddress);
            Frontend = served.Connect();
            Frontend.Negotiate(features);
            Frontend.ShareMemory(_memory);
            _queue = DriverQueue.Create(_memory, _allocator, 16, Frontend.Features);
        }

        internal VhostUserFrontend Frontend { get; }

        internal VhostUserRing Start(int index, byte[] readable)
        {
            GuestBuffer buffer = new(_allocator.Allocate((uint)readable.Length), (uint)readable.Length);
            Assert.True(_memory.TryWrite(buffer.Address, readable));
            _ring = Frontend.StartRing(index, _queue);
            Assert.True(_queue.TryAdd([buffer], [], out _));
            _ring.PublishAndKick();
            return _ring;
        }

        internal VhostUserRing Restart(VhostUserRing before, uint stoppedAt)
        {
            _ring = Frontend.StartRing(before.Index, _queue, stoppedAt);
            before.Dispose();
            return _ring;
        }

        internal void AwaitUsed(VhostUserRing ring) =>
            Assert.True(SpinWait.SpinUntil(() => ring.Queue.TryCollect(out _), Patience), "the request did not come back");

        public void Dispose()
        {
            Frontend.Dispose();
            _ring?.Dispose();
            _queue.Dispose();
            _memory.Dispose();
        }
    }
}

public sealed class StopRingOnEpollTests() : StopRingTests(PollerKind.Epoll);

public sealed class StopRingOnIoRingTests() : StopRingTests(PollerKind.IoRing);
