using Vmm.Events.Native;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>Events of descriptors that the reactor no longer knows: dropped, counted, and healed when they keep coming (I2, I3).</summary>
[Collection(Alone.Name)]
public sealed class GhostTests : ReactorSuite
{
    [Fact]
    public void A_level_triggered_ghost_kept_alive_by_a_duplicate_is_healed_and_later_events_flow()
    {
        using EventFd ghost = HauntTheReactor(Interest.Readable);
        int calls = 0;
        EventFd kick = new();
        Interest.Kick.WithFd(kick).WithHandler(_ => calls++).RegisterInto(Reactor);

        ghost.Signal();
        Assert.Equal(0, Turn());
        ReactorStatistics healed = Reactor.Statistics;
        Assert.Equal(1, healed.Ghosts);
        Assert.Equal(1, healed.Rebuilds);

        kick.Signal();
        ghost.Signal();
        Assert.Equal(1, Turn());
        Assert.Equal(1, calls);
        Assert.Equal(1, Reactor.Statistics.Ghosts);
    }

    [Fact]
    public void A_modify_of_what_was_closed_behind_the_reactors_back_does_not_watch_the_stranger_that_has_its_number()
    {
        int calls = 0;
        EventFd watched = new();
        Subscription<EventFd> subscription = Interest.Readable.WithFd(watched).WithHandler(_ => calls++).RegisterInto(Reactor);
        using EventFd stranger = new();
        // Closes what was behind the number, and puts the other one there.
        Assert.Equal(watched.Number, Posix.DuplicateTo(stranger.Number, watched.Number));
        KernelException refused = Assert.Throws<KernelException>(() => Reactor.Modify(subscription, Interest.Readable.EdgeTriggered));
        Assert.Equal(Errno.NoEntry, refused.Errno);
        Assert.Contains("behind the reactor's back", refused.Message, StringComparison.Ordinal);
        stranger.Signal();
        Turn();
        Assert.Equal(0, calls);
    }

    [Fact]
    public void An_edge_triggered_ghost_is_dropped_and_healed()
    {
        using EventFd ghost = HauntTheReactor(Interest.Kick);
        for (int i = 0; i < 3; i++)
        {
            ghost.Signal();
            Assert.Equal(0, Turn());
        }
        Assert.Equal(1, Reactor.Statistics.Ghosts);
    }

    [Fact]
    public void Remote_calls_still_wake_a_reactor_that_was_healed()
    {
        using EventFd ghost = HauntTheReactor(Interest.Readable);
        ghost.Signal();
        Turn();
        Assert.Equal(1, Reactor.Statistics.Rebuilds);
        using CancellationTokenSource stop = new();
        int answer = 0;
        Thread caller = new(() =>
        {
            answer = Reactor.Remote.Invoke(_ => 42, Patience);
            stop.Cancel();
        });
        caller.Start();
        Reactor.Run(stop.Token);
        caller.Join();
        Assert.Equal(42, answer);
    }

    [Fact]
    public void A_one_shot_that_had_fired_stays_silent_through_a_healing_and_can_be_armed_again()
    {
        int calls = 0;
        Subscription<EventFd> once = WatchRaised((_, _) => calls++, Interest.Readable.OneShot);
        Turn();
        using EventFd ghost = HauntTheReactor(Interest.Readable);
        ghost.Signal();
        Turn();
        Assert.Equal(1, Reactor.Statistics.Rebuilds);
        Turn();
        Assert.Equal(1, calls);
        Reactor.Modify(once, Interest.Readable.OneShot);
        Turn();
        Assert.Equal(2, calls);
    }

    [Fact]
    public void A_one_shot_that_was_armed_again_before_its_reported_event_ran_survives_a_healing()
    {
        // The first handler arms the second again although the second's event is in the same batch: it is due once more.
        int calls = 0;
        Subscription<EventFd>? once = null;
        WatchRaised((fd, reactor) =>
        {
            fd.TryRead(out _);
            reactor.Modify(once!, Interest.Readable.OneShot);
        });
        once = WatchRaised((_, _) => calls++, Interest.Readable.OneShot);
        using EventFd ghost = HauntTheReactor(Interest.Readable);
        ghost.Signal();
        Turn();
        Assert.Equal(1, Reactor.Statistics.Rebuilds);
        Assert.Equal(1, calls);
        Turn();
        Assert.Equal(2, calls);
    }

    [Theory, InlineData(false), InlineData(true)]
    public void A_ghosts_event_never_runs_the_handler_of_the_slots_next_tenant(bool isWatched)
    {
        // Slots are reused first in, first out: as many tenants as a chunk has come before the ghost's slot has its next one.
        if (isWatched) Configure(options => options with { MeasureHandlers = true });
        EventFd original = new();
        using EventFd ghost = original.Duplicate();
        int number = original.Number;
        Subscription<EventFd> haunted = Interest.Kick.WithFd(original).WithHandler(_ => { }).RegisterInto(Reactor);
        int slot = haunted.SlotIndex;
        Assert.Equal(0, Posix.Close(number));
        Assert.True(Reactor.Remove(haunted));
        int strangers = 0;
        Subscription<EventFd> tenant;
        for (int tries = 0; ; tries++)
        {
            Assert.True(tries <= 2 * SlotTable.ChunkLength, "the slot is not reused");
            tenant = Interest.Readable.WithFd(new EventFd()).WithHandler(_ => strangers++).RegisterInto(Reactor);
            if (tenant.SlotIndex == slot) break;
            Reactor.Remove(tenant);
        }
        ghost.Signal();
        Assert.Equal(0, Turn());
        Assert.Equal(0, strangers);
        Assert.Equal(1, Reactor.Statistics.Ghosts);
        tenant.Fd.Signal();
        Assert.Equal(1, Turn());
        Assert.Equal(1, strangers);
    }

    [Fact]
    public void A_handle_that_comes_back_under_the_number_of_a_ghost_takes_its_place()
    {
        EventFd original = new();
        int number = original.Number;
        using EventFd duplicate = original.Duplicate();
        Subscription<EventFd> subscription = Interest.Readable.WithFd(original).WithHandler(_ => { }).RegisterInto(Reactor);
        Assert.Equal(0, Posix.Close(number));
        Reactor.Remove(subscription);
        Assert.Equal(number, Posix.DuplicateTo(duplicate.Number, number));
        int calls = 0;
        Interest.Readable.WithFd(EventFd.Adopt(number)).WithHandler(_ => calls++).RegisterInto(Reactor);
        duplicate.Signal();
        Assert.Equal(1, Turn());
        Assert.Equal(1, calls);
        Assert.Equal(0, Reactor.Statistics.Ghosts);
    }

    [Fact]
    public void A_live_descriptor_that_was_closed_behind_the_back_is_named_when_the_set_is_rebuilt()
    {
        // A number so high that what is opened next does not get it, and that nobody has.
        const int far = 900;
        using EventFd ghost = HauntTheReactor(Interest.Readable);
        int farNumber = Libc.Fcntl(ghost.Number, Libc.F_DUPFD_CLOEXEC, far);
        Assert.True(farNumber >= far);
        Interest.None.WithFd(EventFd.Adopt(farNumber)).WithHandler(_ => { }).RegisterInto(Reactor);
        Assert.Equal(0, Posix.Close(farNumber));
        ghost.Signal();
        Turn();
        KernelException failure = Assert.IsType<KernelException>(Assert.Single(Failures).Exception);
        Assert.Equal(Errno.BadDescriptor, failure.Errno);
    }

    /// <summary>Leaves a watch in the kernel whose descriptor was closed behind the reactor's back; gives what still drives it.</summary>
    private EventFd HauntTheReactor(Interest interest)
    {
        EventFd original = new();
        EventFd duplicate = original.Duplicate();
        int number = original.Number;
        Subscription<EventFd> subscription = interest.WithFd(original).WithHandler(_ => { }).RegisterInto(Reactor);
        Assert.Equal(0, Posix.Close(number));
        Assert.True(Reactor.Remove(subscription));
        return duplicate;
    }
}
