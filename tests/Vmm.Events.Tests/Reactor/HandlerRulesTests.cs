using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>What a handler may do to the reactor that runs it, row by row as the design's table has it.</summary>
public abstract class HandlerRulesTests : ReactorSuite
{
    [Fact]
    public void Add_in_a_handler_fires_from_the_next_wait_on()
    {
        int added = 0;
        WatchRaised((fd, reactor) =>
        {
            fd.TryRead(out _);
            Interest.Readable.WithFd(new EventFd(initial: 1)).WithHandler(_ => added++).RegisterInto(reactor);
        });
        Turn();
        Assert.Equal(0, added);
        Turn();
        Assert.Equal(1, added);
    }

    [Fact]
    public void Modify_self_in_a_handler_holds_from_the_next_wait_on()
    {
        int calls = 0;
        Subscription<EventFd>? self = null;
        self = WatchRaised((_, reactor) =>
        {
            calls++;
            reactor.Modify(self!, Interest.None);
        });
        Turn();
        Turn();
        Assert.Equal(1, calls);
        Assert.Equal(Interest.None, self.Interest);
    }

    [Fact]
    public void Modify_other_in_a_handler_holds_from_the_next_wait_on()
    {
        int calls = 0;
        Subscription<EventFd> other = WatchRaised((_, _) => calls++, Interest.None);
        WatchRaised((fd, reactor) =>
        {
            fd.TryRead(out _);
            reactor.Modify(other, Interest.Readable);
        });
        Turn();
        Assert.Equal(0, calls);
        Turn();
        Assert.Equal(1, calls);
    }

    [Fact]
    public void Remove_other_in_a_handler_silences_it_even_later_in_the_same_batch()
    {
        // Each removes the other, so the test does not hang on the order within the batch.
        int calls = 0;
        Subscription<EventFd>? first = null, second = null;
        first = WatchRaised((_, reactor) =>
        {
            calls++;
            Assert.True(reactor.Remove(second!));
        });
        second = WatchRaised((_, reactor) =>
        {
            calls++;
            Assert.True(reactor.Remove(first));
        });
        Turn();
        Assert.Equal(1, calls);
        Assert.Equal(1, Reactor.Statistics.Ghosts);
        Assert.Single(new[] { first, second }, subscription => subscription.IsRegistered);
    }

    [Fact]
    public void Remove_other_in_a_handler_closes_its_descriptor_now()
    {
        using Pipe pipe = new();
        Subscription<OwnedFd> other = Interest.Readable.WithFd(pipe.Read).WithHandler((OwnedFd _) => { }).RegisterInto(Reactor);
        bool openBefore = false, openAfter = true;
        WatchRaised((_, reactor) =>
        {
            openBefore = pipe.IsReadEndOpen;
            reactor.Remove(other);
            openAfter = pipe.IsReadEndOpen;
        });
        Turn();
        Assert.True(openBefore);
        Assert.False(openAfter);
    }

    [Fact]
    public void Remove_other_in_a_handler_frees_its_slot_only_after_the_batch()
    {
        Subscription<EventFd> other = Interest.None.WithFd(new EventFd()).WithHandler(_ => { }).RegisterInto(Reactor);
        int freed = other.SlotIndex;
        FillTheFirstChunkOfSlots();
        int whileInBatch = -1;
        WatchRaised((fd, reactor) =>
        {
            fd.TryRead(out _);
            reactor.Remove(other);
            whileInBatch = AddOne(reactor).SlotIndex;
        }, Interest.Readable);
        Turn();
        Assert.NotEqual(freed, whileInBatch);
        Assert.Contains(freed, SlotsOfTheNext(2 * SlotTable.ChunkLength));
    }

    [Fact]
    public void Remove_self_in_a_handler_lets_it_run_to_its_end_with_its_descriptor_open()
    {
        using Pipe pipe = new();
        pipe.Fill();
        bool openAtTheEnd = false;
        int calls = 0;
        Subscription<OwnedFd>? self = null;
        self = Interest.Readable.WithFd(pipe.Read).WithHandler((OwnedFd _, IReactor reactor) =>
        {
            calls++;
            Assert.True(reactor.Remove(self!));
            Assert.False(reactor.Remove(self!));
            openAtTheEnd = pipe.IsReadEndOpen;
        }).RegisterInto(Reactor);
        Turn();
        Assert.True(openAtTheEnd);
        Assert.False(pipe.IsReadEndOpen);
        Turn();
        Assert.Equal(1, calls);
    }

    [Fact]
    public void Remove_self_in_a_handler_frees_its_slot_only_after_the_batch()
    {
        Subscription<EventFd>? self = null;
        int whileInBatch = -1, freed = -1;
        FillTheFirstChunkOfSlots();
        self = WatchRaised((_, reactor) =>
        {
            freed = self!.SlotIndex;
            reactor.Remove(self);
            whileInBatch = AddOne(reactor).SlotIndex;
        });
        Turn();
        Assert.NotEqual(freed, whileInBatch);
        Assert.Contains(freed, SlotsOfTheNext(2 * SlotTable.ChunkLength));
    }

    [Fact]
    public void Remove_self_then_add_the_same_handle_throws()
    {
        Exception? sameSubscription = null, sameHandle = null;
        Subscription<EventFd>? self = null;
        self = WatchRaised((fd, reactor) =>
        {
            reactor.Remove(self!);
            sameSubscription = Record.Exception(() => reactor.Add(self!));
            sameHandle = Record.Exception(() => Interest.Readable.WithFd(fd).WithHandler(_ => { }).RegisterInto(reactor));
        });
        Turn();
        Assert.IsType<InvalidOperationException>(sameSubscription);
        Assert.IsType<InvalidOperationException>(sameHandle);
        Assert.Empty(Failures);
    }

    [Fact]
    public void Run_the_reactor_again_in_a_handler_throws()
    {
        Exception? once = null, run = null;
        WatchRaised((_, _) =>
        {
            once = Record.Exception(() => Turn());
            run = Record.Exception(() => Reactor.Run(TestContext.Current.CancellationToken));
        });
        Turn();
        Assert.IsType<InvalidOperationException>(once);
        Assert.IsType<InvalidOperationException>(run);
    }

    [Fact]
    public void Dispose_the_reactor_in_a_handler_throws()
    {
        Exception? dispose = null, takeApart = null;
        int calls = 0;
        WatchRaised((_, _) =>
        {
            calls++;
            dispose = Record.Exception(Reactor.Dispose);
            takeApart = Record.Exception(() => Reactor.TakeApart());
        });
        Turn();
        Turn();
        Assert.IsType<InvalidOperationException>(dispose);
        Assert.IsType<InvalidOperationException>(takeApart);
        Assert.Equal(2, calls);
    }

    [Fact]
    public void Throw_by_default_removes_that_subscriber_reports_it_and_goes_on_with_the_batch()
    {
        int others = 0;
        WatchRaised((_, _) => others++);
        Subscription<EventFd> failing = WatchRaised((_, _) => throw new InvalidDataException("broken"));
        WatchRaised((_, _) => others++);
        Turn();
        Assert.Equal(2, others);
        Assert.False(failing.IsRegistered);
        Assert.True(failing.Handle.IsClosed);
        HandlerFailure failure = Assert.Single(Failures);
        Assert.IsType<InvalidDataException>(failure.Exception);
        Turn();
        Assert.Equal(4, others);
    }

    [Fact]
    public void Throw_with_the_stop_policy_stops_the_reactor_and_rethrows()
    {
        Configure(options => options with { HandlerFailurePolicy = HandlerFailurePolicy.StopReactor });
        Subscription<EventFd> other = Interest.Readable.WithFd(new EventFd()).WithHandler(_ => { }).RegisterInto(Reactor);
        WatchRaised((_, _) => throw new InvalidDataException("broken"));
        Assert.Equal("broken", Assert.Throws<InvalidDataException>(() => Reactor.Run(TestContext.Current.CancellationToken)).Message);
        Assert.Throws<ReactorStoppedException>(() => Turn());
        Assert.Same(other, Assert.Single(Reactor.TakeApart()));
    }

    private static Subscription<EventFd> AddOne(IReactor reactor) =>
        Interest.None.WithFd(new EventFd()).WithHandler(_ => { }).RegisterInto(reactor);

    /// <summary>Leaves one slot of the first chunk free, for the subscription of the test.</summary>
    private void FillTheFirstChunkOfSlots()
    {
        while (AddOne(Reactor).SlotIndex < SlotTable.ChunkLength - 2)
        {
        }
    }

    private List<int> SlotsOfTheNext(int count)
    {
        List<int> slots = [];
        for (int i = 0; i < count; i++)
        {
            Subscription<EventFd> subscription = AddOne(Reactor);
            slots.Add(subscription.SlotIndex);
            Reactor.Remove(subscription);
        }
        return slots;
    }
}

public sealed class HandlerRulesOnEpollTests : HandlerRulesTests;

public sealed class HandlerRulesOnIoRingTests : HandlerRulesTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
