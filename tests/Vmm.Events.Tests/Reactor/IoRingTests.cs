using Vmm.Events.Native;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>What only a reactor on a ring can get wrong; what holds for every poller is in the suites.</summary>
public sealed class IoRingTests : ReactorSuite
{
    protected override PollerKind Poller => PollerKind.IoRing;

    [Fact]
    public void The_reactor_says_what_it_waits_with()
    {
        Assert.Equal(PollerKind.IoRing, Reactor.Poller);
        using Reactor other = NewReactor(options => options with { Poller = PollerKind.Epoll });
        Assert.Equal(PollerKind.Epoll, other.Poller);
    }

    [Fact]
    public void Where_io_uring_is_forbidden_the_reactor_waits_with_epoll_and_says_why_once()
    {
        List<string> reasons = [];
        ForbiddenCall.On(ForbiddenCall.IoUringSetup, () =>
        {
            using Reactor reactor = NewReactor(options => options with { OnFallBack = reasons.Add });
            int calls = 0;
            Interest.Kick.WithFd(new EventFd(initial: 1)).WithHandler(_ => calls++).RegisterInto(reactor);
            reactor.RunOnce(TimeSpan.Zero);
            Assert.Equal(1, calls);
            Assert.Equal(PollerKind.Epoll, reactor.Poller);
        });
        string reason = Assert.Single(reasons);
        Assert.Contains("reactor 'test' waits with epoll", reason, StringComparison.Ordinal);
        Assert.Contains("io_uring_disabled", reason, StringComparison.Ordinal);
    }

    [Fact]
    public void What_was_drained_since_it_fired_is_not_reported_to_a_level_triggered_interest()
    {
        int calls = 0;
        EventFd fd = new();
        Interest.Readable.WithFd(fd).WithHandler(_ => calls++).RegisterInto(Reactor);
        Turn();
        fd.Signal();
        Assert.True(fd.TryRead(out _));
        Turn();
        Assert.Equal(0, calls);
        fd.Signal();
        Turn();
        Assert.Equal(1, calls);
    }

    [Fact]
    public void A_modify_between_the_edge_and_the_wait_neither_loses_nor_doubles_the_event()
    {
        int calls = 0;
        EventFd fd = new();
        Subscription<EventFd> subscription = Interest.Kick.WithFd(fd).WithHandler(_ => calls++).RegisterInto(Reactor);
        Turn();
        fd.Signal();
        for (int i = 0; i < 20; i++) Reactor.Modify(subscription, Interest.Kick);
        Turn();
        Turn();
        Assert.Equal(1, calls);
        fd.Signal();
        Turn();
        Assert.Equal(2, calls);
    }

    [Fact]
    public void A_removal_drops_the_event_that_fired_before_it_and_lets_the_file_go_at_once()
    {
        using Pipe pipe = new();
        int calls = 0;
        Subscription<OwnedFd> subscription = Interest.Readable.EdgeTriggered.WithFd(pipe.Read).WithHandler((OwnedFd _) => calls++).RegisterInto(Reactor);
        Turn();
        pipe.Fill();
        Reactor.Remove(subscription);
        Assert.False(pipe.IsReadEndOpen);
        Turn();
        Assert.Equal(0, calls);
        Assert.Equal(0, Reactor.Statistics.Ghosts);
    }

    [Fact]
    public void A_stopped_reactor_lets_files_go_although_the_thread_that_ran_it_lives_on()
    {
        using Pipe pipe = new();
        Interest.Readable.WithFd(pipe.Read).WithHandler((OwnedFd _) => { }).RegisterInto(Reactor);
        CancellationToken cancelled = TestContext.Current.CancellationToken;
        using ManualResetEventSlim stopped = new();
        using ManualResetEventSlim disposed = new();
        Thread runner = new(() =>
        {
            Reactor.Run(new CancellationToken(canceled: true));
            stopped.Set();
            disposed.Wait(Patience, cancelled);
        });
        runner.Start();
        Assert.True(stopped.Wait(Patience, cancelled));
        Reactor.Dispose();
        bool isLetGo = !pipe.IsReadEndOpen;
        disposed.Set();
        runner.Join();
        Assert.True(isLetGo);
    }

    [Fact]
    public void A_removal_lets_the_file_go_at_once_however_many_others_are_ready()
    {
        const int others = 200;
        using Pipe pipe = new();
        EventFd[] fds = [.. Enumerable.Range(0, others).Select(_ => new EventFd())];
        foreach (EventFd fd in fds) Interest.Kick.WithFd(fd).WithHandler(_ => { }).RegisterInto(Reactor);
        Subscription<OwnedFd> subscription = Interest.Readable.EdgeTriggered.WithFd(pipe.Read).WithHandler((OwnedFd _) => { }).RegisterInto(Reactor);
        Turn();
        foreach (EventFd fd in fds) fd.Signal();
        Reactor.Remove(subscription);
        Assert.False(pipe.IsReadEndOpen);
        Assert.Equal(others, Turn());
    }

    [Fact]
    public void A_ring_that_is_made_anew_lets_go_at_once_of_all_that_the_old_one_watched()
    {
        SlotTable slots = new();
        Assert.Equal(Errno.None, IoUringPoller.TryCreate(slots, eventsPerWaitMax: 64, out IoUringPoller? created));
        using IoUringPoller poller = created!;
        Pipe[] pipes = [.. Enumerable.Range(0, 100).Select(_ => new Pipe())];
        foreach (Pipe pipe in pipes)
        {
            ref Slot slot = ref slots[slots.Rent()];
            slot.Fd = pipe.Read.Number;
            slot.Bits = Interest.Readable.EdgeTriggered.Bits;
            Assert.Equal(Errno.None, poller.Add(slot.Fd, slot.Bits, ThinPointer.To(ref slot)));
        }
        Assert.Equal(0, poller.Wait(0).Length);
        foreach (Pipe pipe in pipes[..50]) pipe.Fill();
        poller.Rebuild();
        foreach (Pipe pipe in pipes) pipe.Read.Dispose();
        int open = pipes.Count(pipe => pipe.IsReadEndOpen);
        foreach (Pipe pipe in pipes) pipe.Dispose();
        Assert.Equal(0, open);

        // And the new one waits.
        for (int i = 0; i < pipes.Length; i++) slots.Retire(i, turn: 1, inBatch: false);
        using Fleet fleet = new(slots, poller, 1);
        fleet.Fds[0].Signal();
        Assert.Equal(1, poller.Wait(0).Length);
    }

    [Fact]
    public void A_ring_that_is_closed_twice_closes_no_descriptor_that_another_has_meanwhile()
    {
        SlotTable slots = new();
        Assert.Equal(Errno.None, IoUringPoller.TryCreate(slots, eventsPerWaitMax: 64, out IoUringPoller? created));
        created!.Dispose();
        // They get the lowest numbers that are free, those of the ring among them.
        EventFd[] others = [.. Enumerable.Range(0, 16).Select(_ => new EventFd())];
        created.Dispose();
        foreach (EventFd other in others)
        {
            other.Signal();
            Assert.True(other.TryRead(out _));
            other.Dispose();
        }
    }

    [Fact]
    public void More_events_than_the_ring_has_room_for_arrive_all_the_same()
    {
        const int watched = 40;
        SlotTable slots = new();
        Assert.Equal(Errno.None, IoUringPoller.TryCreate(slots, eventsPerWaitMax: 64, out IoUringPoller? created, completions: 4));
        using IoUringPoller poller = created!;
        using Fleet fleet = new(slots, poller, watched);
        for (int round = 0; round < 3; round++)
        {
            foreach (EventFd fd in fleet.Fds) fd.Signal();
            HashSet<ulong> seen = [];
            for (int wait = 0; seen.Count < watched; wait++)
            {
                Assert.True(wait < 100 * watched, $"{watched - seen.Count} events are lost");
                foreach (ReadyEvent ready in poller.Wait(0)) seen.Add(ready.Data);
            }
        }
    }

    [Fact]
    public void No_wait_reports_what_was_removed_before_it()
    {
        const int watched = 10;
        SlotTable slots = new();
        Assert.Equal(Errno.None, IoUringPoller.TryCreate(slots, eventsPerWaitMax: 2, out IoUringPoller? created));
        using IoUringPoller poller = created!;
        using Fleet fleet = new(slots, poller, watched);
        foreach (EventFd fd in fleet.Fds) fd.Signal();
        // Two are handed over; eight wait as completions in the ring.
        Assert.Equal(2, poller.Wait(0).Length);
        for (int i = 0; i < watched; i++) fleet.Remove(i);
        Assert.Equal(0, poller.Wait(0).Length);
    }

    /// <summary>Eventfds in the slots of a table, watched for edges by a poller with no reactor.</summary>
    private sealed class Fleet : IDisposable
    {
        private readonly SlotTable _slots;
        private readonly IoUringPoller _poller;
        private readonly int[] _indices;

        internal Fleet(SlotTable slots, IoUringPoller poller, int count)
        {
            _slots = slots;
            _poller = poller;
            Fds = [.. Enumerable.Range(0, count).Select(_ => new EventFd())];
            _indices = [.. Fds.Select(Watch)];
        }

        internal IReadOnlyList<EventFd> Fds { get; }

        internal void Remove(int i)
        {
            ref Slot slot = ref _slots[_indices[i]];
            Assert.Equal(Errno.None, _poller.Remove(slot.Fd, ThinPointer.To(ref slot)));
            _slots.Retire(_indices[i], turn: 1, inBatch: false);
        }

        public void Dispose()
        {
            foreach (EventFd fd in Fds) fd.Dispose();
        }

        private int Watch(EventFd fd)
        {
            int index = _slots.Rent();
            ref Slot slot = ref _slots[index];
            slot.Fd = fd.Number;
            slot.Bits = Interest.Kick.Bits;
            Assert.Equal(Errno.None, _poller.Add(slot.Fd, slot.Bits, ThinPointer.To(ref slot)));
            return index;
        }
    }
}
