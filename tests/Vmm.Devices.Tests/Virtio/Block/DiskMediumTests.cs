using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>A disk that gets another medium under its guest, and one that is flushed from outside.</summary>
public sealed class DiskMediumTests
{
    private const int SmallBytes = 1 << 20, LargeBytes = 2 << 20;

    [Theory]
    [InlineData(LargeBytes, 1)]
    [InlineData(SmallBytes / 2, 4)]
    [InlineData(SmallBytes, 1)]
    public void The_driver_reads_what_is_on_the_other_medium_and_learns_its_size(int bytes, int queues)
    {
        FaultyBackend before = new() { CapacityBytes = SmallBytes }, after = new() { CapacityBytes = (ulong)bytes };
        using SimulatedGuest guest = Guest(before, queues);
        Assert.Equal(BlockStatus.Ok, Run(guest, guest.Queue(0).Write(1, BlockGuest.Pattern(512, 1))));
        int interrupts = guest.ConfigInterrupts;
        Swap(guest, after);
        Assert.True(before.IsDisposed);
        Assert.Equal(0, before.Engines);
        Assert.Equal((ulong)bytes / 512, guest.Driver.ReadConfig<ulong>(0));
        Assert.Equal(interrupts + 1, guest.ConfigInterrupts);
        for (int queue = 0; queue < queues; queue++)
        {
            DriverRequest read = guest.Queue(queue).Read(1);
            Assert.Equal(BlockStatus.Ok, Run(guest, read, queue));
            Assert.Equal(new byte[512], read.Data());
        }
        Assert.Equal(BlockStatus.Ok, Run(guest, guest.Queue(0).Write(1, BlockGuest.Pattern(512, 2))));
        Assert.Equal(BlockGuest.Pattern(512, 2), after.Sector(1));
        Assert.Equal(BlockGuest.Pattern(512, 1), before.Sector(1));
        Assert.Equal(BlockStatus.IoError, Run(guest, guest.Queue(0).Read((ulong)bytes / 512)));
    }

    [Fact]
    public void Requests_in_flight_complete_on_the_medium_they_were_made_for_and_later_ones_wait()
    {
        FaultyBackend before = new() { CapacityBytes = SmallBytes, Holds = true }, after = new() { CapacityBytes = SmallBytes };
        using SimulatedGuest guest = Guest(before);
        DriverRequest first = guest.Queue(0).Write(1, BlockGuest.Pattern(512, 1));
        guest.Kick(0).RunUntil(() => before.Held == 1);
        Task swap = Disk(guest).SwapAsync(after);
        // The hold is on the queue's thread when this call is.
        Task held = guest.Reactor.Remote.InvokeAsync(_ => true);
        guest.RunUntil(() => held.IsCompleted);
        DriverRequest second = guest.Queue(0).Write(2, BlockGuest.Pattern(512, 2));
        guest.Kick(0).RunUntilIdle();
        Assert.False(swap.IsCompleted);
        Assert.False(second.IsUsed);
        before.Holds = false;
        before.CompleteHeld();
        guest.RunUntil(() => swap.IsCompleted && second.IsUsed);
        swap.GetAwaiter().GetResult();
        Assert.Equal((BlockStatus.Ok, BlockStatus.Ok), (first.Status(), second.Status()));
        Assert.Equal(BlockGuest.Pattern(512, 1), before.Sector(1));
        Assert.Equal(new byte[512], after.Sector(1));
        Assert.Equal(BlockGuest.Pattern(512, 2), after.Sector(2));
    }

    [Fact]
    public void A_disk_without_a_driver_and_one_that_is_paused_take_another_medium()
    {
        FaultyBackend first = new() { CapacityBytes = SmallBytes }, second = new() { CapacityBytes = LargeBytes }, third = new() { CapacityBytes = SmallBytes };
        using SimulatedGuest guest = SimulatedGuest.For(new BlockDevice("vda", first), new SimulatedGuestOptions { Start = false });
        Swap(guest, second);
        guest.Start();
        Assert.Equal(BlockStatus.Ok, Run(guest, guest.Queue(0).Read((LargeBytes / 512) - 1)));
        guest.Pause();
        Swap(guest, third);
        DriverRequest read = guest.Queue(0).Read(0);
        guest.Kick(0).RunUntilIdle();
        Assert.False(read.IsUsed);
        guest.Resume();
        Assert.Equal(BlockStatus.Ok, Run(guest, read));
        Assert.Equal(1, third.Count(BlockOperationKind.Read));
        // And the next driver has it too.
        guest.Reset().Start();
        Assert.Equal(BlockStatus.Ok, Run(guest, guest.Queue(0).Read(0)));
        Assert.Equal(2, third.Count(BlockOperationKind.Read));
    }

    [Fact]
    public void A_medium_that_the_driver_can_not_work_with_is_refused_in_a_sentence()
    {
        FaultyBackend before = new() { CapacityBytes = SmallBytes };
        using SimulatedGuest guest = Guest(before);
        FaultyBackend readOnly = new() { IsReadOnly = true };
        Assert.Contains("is read-only, and the disk is not", Refusal(() => Disk(guest).SwapAsync(readOnly)));
        Assert.False(readOnly.IsDisposed);
        Assert.Contains("made of a backend", Refusal(() => Disk(guest).SwapAsync("path")));
        Assert.Equal(BlockStatus.Ok, Run(guest, guest.Queue(0).Read(0)));
        Assert.Equal(1, before.Count(BlockOperationKind.Read));
    }

    [Fact]
    public void A_flush_from_outside_makes_durable_what_was_written_or_says_that_it_did_not()
    {
        FaultyBackend disk = new() { CapacityBytes = SmallBytes };
        using SimulatedGuest guest = Guest(disk);
        Assert.Equal(BlockStatus.Ok, Run(guest, guest.Queue(0).Write(1, BlockGuest.Pattern(512))));
        Assert.Equal(new byte[512], disk.DurableSector(1));
        Flush(guest);
        Assert.Equal(BlockGuest.Pattern(512), disk.DurableSector(1));
        Assert.Equal(1, disk.Engines);

        disk.Fault = _ => Errno.InputOutput;
        Assert.Contains("cannot flush faulty disk", Assert.ThrowsAny<IOException>(() => Flush(guest)).Message);
        disk.Fault = null;
        // What the kernel dropped does not come back.
        Assert.Contains("lost writes before", Assert.ThrowsAny<IOException>(() => Flush(guest)).Message);
        Assert.Equal(BlockStatus.IoError, Run(guest, guest.Queue(0).Ask(BlockRequestType.Flush)));
        // Another medium has lost nothing.
        Swap(guest, new FaultyBackend { CapacityBytes = SmallBytes });
        Flush(guest);
        Assert.Equal(BlockStatus.Ok, Run(guest, guest.Queue(0).Ask(BlockRequestType.Flush)));
    }

    [Fact]
    public void A_disk_that_is_being_flushed_takes_no_other_medium()
    {
        FaultyBackend disk = new() { CapacityBytes = SmallBytes, Holds = true };
        using SimulatedGuest guest = Guest(disk);
        Task flush = Disk(guest).FlushAsync(guest.Reactor.Remote);
        guest.RunUntil(() => disk.Held == 1);
        Assert.Contains("being flushed", Refusal(() => Disk(guest).SwapAsync(new FaultyBackend { CapacityBytes = SmallBytes })));
        Assert.Contains("being flushed", Refusal(() => Disk(guest).FlushAsync(guest.Reactor.Remote)));
        disk.Holds = false;
        disk.CompleteHeld();
        guest.RunUntil(() => flush.IsCompleted);
        flush.GetAwaiter().GetResult();
        Flush(guest);
    }

    private static SimulatedGuest Guest(FaultyBackend disk, int queues = 1) =>
        SimulatedGuest.For(new BlockDevice("vda", disk, new DiskSpec { Queues = queues }));

    private static BlockDevice Disk(SimulatedGuest guest) => (BlockDevice)guest.Device;

    private static void Swap(SimulatedGuest guest, FaultyBackend medium)
    {
        Task swap = Disk(guest).SwapAsync(medium);
        guest.RunUntil(() => swap.IsCompleted).RunUntilIdle();
        swap.GetAwaiter().GetResult();
    }

    private static void Flush(SimulatedGuest guest)
    {
        Task flush = Disk(guest).FlushAsync(guest.Reactor.Remote);
        guest.RunUntil(() => flush.IsCompleted);
        flush.GetAwaiter().GetResult();
    }

    private static string Refusal(Func<Task> asked) => Assert.ThrowsAny<Exception>(() => asked().GetAwaiter().GetResult()).Message;

    private static BlockStatus Run(SimulatedGuest guest, DriverRequest request, int queue = 0)
    {
        guest.Kick(queue).RunUntil(() => request.IsUsed);
        return request.Status();
    }
}
