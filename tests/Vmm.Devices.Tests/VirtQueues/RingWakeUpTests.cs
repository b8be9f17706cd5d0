using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>Driver and device on two threads that sleep until they are signalled: a lost kick or interrupt is a hang.</summary>
public sealed class RingWakeUpTests
{
    private static readonly TimeSpan Watchdog = TimeSpan.FromSeconds(30);

    [Theory, MemberData(nameof(RingShape.All), MemberType = typeof(RingShape))]
    public async Task No_wake_up_is_lost_between_a_driver_and_a_device_that_both_suppress_them(RingShape shape)
    {
        const int Requests = 30_000;
        using SemaphoreSlim kicked = new(0), interrupted = new(0);
        using GuestMemory memory = GuestMemory.Create(RingRig.MemoryLength);
        GuestAllocator allocator = new(4096, 1 << 20);
        using DriverQueue driver = DriverQueue.Create(memory, allocator, 8, shape.Features);
        Assert.True(VirtQueue.TryCreate(driver.Configuration(), memory, new SemaphoreInterrupt(interrupted), out VirtQueue? device, out _));
        using VirtQueue queue = device;

        Task serving = Task.Factory.StartNew(() => Serve(queue, kicked, Requests), TaskCreationOptions.LongRunning);
        Task driving = Task.Factory.StartNew(() => Drive(driver, kicked, interrupted, Requests), TaskCreationOptions.LongRunning);
        await Task.WhenAll(serving, driving);
        Assert.Equal(Requests, queue.Statistics.Requests);
    }

    private static void Serve(VirtQueue queue, SemaphoreSlim kicked, int requests)
    {
        int served = 0;
        while (served < requests)
        {
            if (queue.EnableKicks())
            {
                queue.DisableKicks();
                while (queue.TryPop(out DescriptorChain? chain))
                {
                    queue.Push(chain, 0);
                    served++;
                }
                queue.Publish();
            }
            else if (served < requests)
            {
                Assert.True(kicked.Wait(Watchdog), $"no kick after {served} requests");
            }
        }
    }

    private static void Drive(DriverQueue driver, SemaphoreSlim kicked, SemaphoreSlim interrupted, int requests)
    {
        ReadOnlySpan<GuestBuffer> buffer = [new GuestBuffer(RingRig.BufferStart, 64)];
        int added = 0, collected = 0;
        while (collected < requests)
        {
            driver.DisableInterrupts();
            while (added < requests && driver.TryAdd(buffer, [], out _)) added++;
            if (driver.Publish()) kicked.Release();
            while (driver.TryCollect(out _)) collected++;
            bool more = driver.EnableInterrupts() || (driver.Free > 0 && added < requests);
            if (!more && collected < requests) Assert.True(interrupted.Wait(Watchdog), $"no interrupt after {collected} requests");
        }
    }

    private sealed class SemaphoreInterrupt(SemaphoreSlim interrupted) : IVirtioInterrupt
    {
        public void SignalQueue(int queueIndex) => interrupted.Release();

        public void SignalConfig()
        {
        }

        public void SignalNeedsReset()
        {
        }
    }
}
