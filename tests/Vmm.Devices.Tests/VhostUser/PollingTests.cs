using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>A back-end whose reactor polls: rings are looked at where they are, and the driver is spared its kicks.</summary>
public abstract class PollingTests(PollerKind poller) : PollerSuite(poller)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    [Fact]
    public void While_it_looks_nobody_kicks()
    {
        using TemporaryImage image = new(1 << 20);
        using ServedDevice served = new(new BlockDevice("vda", RawImage.Open(image.Path)), pollMax: Patience);
        using DiskDriver driver = new(served.Connect());
        for (int i = 0; i < 64; i++) driver.WriteSector((ulong)i, (byte)i);
        Assert.NotEqual(0, served.Backend.Statistics[0].Kicks);
        // Each pause of ours that was longer than its window doubles that, up to a time that nobody pauses: then it looks all the time.
        int rounds = 0;
        while (KicksFor64Reads() != 0) Assert.True(++rounds < 32, "it is kicked again and again");

        long KicksFor64Reads()
        {
            long before = served.Backend.Statistics[0].Kicks;
            for (int i = 0; i < 64; i++) Assert.Equal((byte)i, driver.ReadSector((ulong)i)[511]);
            return served.Backend.Statistics[0].Kicks - before;
        }
    }

    [Fact]
    public void A_ring_whose_requests_wait_for_the_host_is_told_to_kick()
    {
        ScriptedDevice device = new(VirtioDeviceType.Entropy) { TakesNothing = true };
        using ServedDevice served = new(device, pollMax: Patience);
        using GuestMemory memory = GuestMemory.Create(1 << 20);
        using VhostUserFrontend frontend = served.Connect();
        frontend.Negotiate(0);
        frontend.ShareMemory(memory);
        GuestAllocator allocator = new(0, 1 << 20);
        using DriverQueue queue = DriverQueue.Create(memory, allocator, 16, frontend.Features);
        GuestBuffer buffer = new(allocator.Allocate(16), 16);
        using VhostUserRing ring = frontend.StartRing(0, queue);
        for (int i = 0; i < 8; i++)
        {
            // At the start, then for each kick. It asks for no kick while it is served, and sees itself what comes meanwhile.
            Assert.True(SpinWait.SpinUntil(() => device.Turns == i + 1, Patience), $"served {device.Turns} times after {i} kicks");
            served.Remote.Invoke(_ => true, Patience);
            Assert.True(queue.TryAdd([], [buffer], out _));
            // Whatever it looked at meanwhile, it asks for the next kick.
            Assert.True(queue.Publish(), "the device does not ask for kicks");
            ring.Kick.Signal();
        }
    }

    [Fact]
    public void A_ring_that_breaks_while_it_is_looked_at_is_told_and_left_alone()
    {
        using ServedDevice served = new(new ScriptedDevice(VirtioDeviceType.Entropy), pollMax: Patience);
        using GuestMemory memory = GuestMemory.Create(1 << 20);
        using VhostUserFrontend frontend = served.Connect();
        frontend.Negotiate(0);
        frontend.ShareMemory(memory);
        GuestAllocator allocator = new(0, 1 << 20);
        using DriverQueue queue = DriverQueue.Create(memory, allocator, 16, frontend.Features);
        using VhostUserRing ring = frontend.StartRing(0, queue);
        // An index that jumps by more than the ring has.
        Assert.True(memory.TryWrite(queue.DriverRing + 2, [0x00, 0x40]));
        ring.Kick.Signal();
        Assert.True(SpinWait.SpinUntil(() => served.Backend.Statistics[0].Faults == 1, Patience), "the fault is not seen");
        // It is served no more, and others are.
        Assert.True(served.Remote.Invoke(_ => true, Patience));
        Assert.Equal(1, served.Backend.Statistics[0].Faults);
    }
}

public sealed class PollingOnEpollTests() : PollingTests(PollerKind.Epoll);

public sealed class PollingOnIoRingTests() : PollingTests(PollerKind.IoRing);
