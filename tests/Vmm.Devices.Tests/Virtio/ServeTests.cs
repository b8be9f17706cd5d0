using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>How a queue is served: nothing the driver makes available is overlooked, and a handler that waits for its host side is left alone.</summary>
public sealed class ServeTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(VirtioFeatures.EventIndex)]
    [InlineData(VirtioFeatures.PackedRing | VirtioFeatures.EventIndex)]
    public void A_request_that_comes_when_the_handler_has_found_none_is_served(ulong features)
    {
        SlowDevice device = new();
        using SimulatedGuest guest = SimulatedGuest.For(device, With(features));
        guest.RunUntilIdle();
        DriverRequest? late = null;
        device.OnEmpty = () =>
        {
            device.OnEmpty = null;
            // Kicks are off while the handler runs: the driver is told not to kick, and does not.
            late = AddAsADriver(guest);
        };
        guest.Queue(0).Add(writable: [1]);
        guest.Kick(0).RunUntilIdle();
        Assert.True(late!.IsUsed);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(VirtioFeatures.EventIndex)]
    [InlineData(VirtioFeatures.PackedRing | VirtioFeatures.EventIndex)]
    public void A_request_that_comes_when_the_handler_of_an_idle_queue_looks_is_served(ulong features)
    {
        SlowDevice device = new();
        using SimulatedGuest guest = SimulatedGuest.For(device, With(features));
        DriverRequest? late = null;
        device.OnEmpty = () =>
        {
            device.OnEmpty = null;
            late = AddAsADriver(guest);
        };
        // As right after a queue's start: served, and nothing there.
        guest.Kick(0).RunUntilIdle();
        Assert.True(late!.IsUsed);
    }

    [Fact]
    public void A_handler_that_leaves_the_requests_for_later_is_not_asked_again_until_something_happens()
    {
        SlowDevice device = new() { TakesNothing = true };
        using SimulatedGuest guest = SimulatedGuest.For(device, With(VirtioFeatures.EventIndex));
        guest.RunUntilIdle();
        int before = device.Calls;
        DriverRequest request = guest.Queue(0).Add(writable: [1]);
        guest.Kick(0).RunUntilIdle();
        Assert.Equal(before + 1, device.Calls);
        Assert.False(request.IsUsed);
        device.TakesNothing = false;
        device.HostSideHappened();
        guest.RunUntilIdle();
        Assert.True(request.IsUsed);
    }

    /// <summary>A driver kicks if the device wants it, and not otherwise.</summary>
    private static DriverRequest AddAsADriver(SimulatedGuest guest)
    {
        DriverRequest request = guest.Queue(0).Add(writable: [1]);
        if (guest.Queue(0).WantsKick) guest.Kick(0);
        return request;
    }

    private static SimulatedGuestOptions With(ulong features) =>
        new() { Transport = new VirtioMmioOptions { CommonFeatures = features } };

    /// <summary>Gives every request back as it is, and tells when it found no more.</summary>
    private sealed class SlowDevice : VirtioDevice
    {
        internal SlowDevice() : base(VirtioDeviceType.Entropy, "slow") => AddQueue("requests", 16, Serve);

        internal Action? OnEmpty { get; set; }

        internal bool TakesNothing { get; set; }

        internal int Calls { get; private set; }

        internal void HostSideHappened() => ServeQueue(0);

        private void Serve(QueueContext context)
        {
            VirtQueue queue = context.Queue;
            Calls++;
            if (TakesNothing) return;
            while (queue.TryPop(out DescriptorChain? chain)) queue.Push(chain, 0);
            OnEmpty?.Invoke();
        }
    }
}
