using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>Each flag of an interest, with and without, against what epoll really does.</summary>
public abstract class InterestTests : ReactorSuite
{
    private readonly SocketPair _sockets = new();
    private readonly List<Readiness> _seen = [];

    [Fact]
    public void Readable_reports_what_can_be_read_and_not_after_it_was_taken_away()
    {
        Subscription<OwnedFd> subscription = Watch(Interest.Readable);
        _sockets.PeerSends();
        Assert.True(Assert.Single(Look()).IsReadable);
        Reactor.Modify(subscription, subscription.Interest.WithoutReadable);
        Assert.Empty(Look());
        Reactor.Modify(subscription, subscription.Interest.AndReadable);
        Assert.Single(Look());
    }

    [Fact]
    public void Writable_reports_room_and_not_after_it_was_taken_away()
    {
        Subscription<OwnedFd> subscription = Watch(Interest.Writable);
        Assert.True(Assert.Single(Look()).IsWritable);
        Reactor.Modify(subscription, subscription.Interest.WithoutWritable);
        Assert.Empty(Look());
        Reactor.Modify(subscription, subscription.Interest.AndWritable);
        Assert.Single(Look());
    }

    [Fact]
    public void Read_hang_up_reports_a_half_closed_peer_and_not_after_it_was_taken_away()
    {
        Subscription<OwnedFd> subscription = Watch(Interest.ReadHangUp);
        Assert.Empty(Look());
        _sockets.PeerShutsDownWriting();
        Readiness ready = Assert.Single(Look());
        Assert.True(ready.IsReadHangUp);
        Assert.False(ready.IsReadable);
        Reactor.Modify(subscription, subscription.Interest.WithoutReadHangUp);
        Assert.Empty(Look());
        Reactor.Modify(subscription, subscription.Interest.AndReadHangUp);
        Assert.Single(Look());
    }

    [Fact]
    public void Priority_reports_out_of_band_data_and_not_after_it_was_taken_away()
    {
        Subscription<OwnedFd> subscription = Watch(Interest.Priority);
        _sockets.PeerSends();
        Assert.Empty(Look());
        _sockets.PeerSendsOutOfBand();
        Assert.True(Assert.Single(Look()).IsPriority);
        Reactor.Modify(subscription, subscription.Interest.WithoutPriority);
        Assert.Empty(Look());
        Reactor.Modify(subscription, subscription.Interest.AndPriority);
        Assert.Single(Look());
    }

    [Fact]
    public void Edge_triggered_reports_each_change_once_and_level_triggered_as_long_as_it_lasts()
    {
        Subscription<OwnedFd> subscription = Watch(Interest.Readable.EdgeTriggered);
        _sockets.PeerSends();
        Assert.Single(Look());
        Assert.Empty(Look());
        _sockets.PeerSends();
        Assert.Single(Look());
        Reactor.Modify(subscription, subscription.Interest.WithoutEdgeTriggered);
        Assert.Single(Look());
        Assert.Single(Look());
        Reactor.Modify(subscription, subscription.Interest.EdgeTriggered);
        Assert.Single(Look());
        Assert.Empty(Look());
    }

    [Fact]
    public void One_shot_reports_once_until_it_is_modified()
    {
        Subscription<OwnedFd> subscription = Watch(Interest.Readable.OneShot);
        _sockets.PeerSends();
        Assert.Single(Look());
        _sockets.PeerSends();
        Assert.Empty(Look());
        Reactor.Modify(subscription, subscription.Interest);
        Assert.Single(Look());
        Assert.Empty(Look());
        Reactor.Modify(subscription, subscription.Interest.WithoutOneShot);
        Assert.Single(Look());
        Assert.Single(Look());
    }

    [Fact]
    public void Exclusive_wakes_one_of_two_reactors_and_both_after_it_was_taken_away()
    {
        using EventFd kick = new();
        using Reactor other = NewReactor();
        int calls = 0;
        Subscription<EventFd> here = Interest.Kick.Exclusive.WithFd(kick.Duplicate()).WithHandler(_ => calls++).RegisterInto(Reactor);
        Subscription<EventFd> there = Interest.Kick.Exclusive.WithFd(kick.Duplicate()).WithHandler(_ => calls++).RegisterInto(other);
        kick.Signal();
        Turn();
        other.RunOnce(TimeSpan.Zero);
        // Neither reactor sleeps, so at least one is told; that it is not always both is what the flag is for, and the kernel's choice.
        Assert.InRange(calls, 1, 2);

        calls = 0;
        Reactor.Modify(here, here.Interest.WithoutExclusive);
        other.Modify(there, there.Interest.WithoutExclusive);
        Turn();
        other.RunOnce(TimeSpan.Zero);
        calls = 0;
        kick.Signal();
        Turn();
        other.RunOnce(TimeSpan.Zero);
        Assert.Equal(2, calls);
    }

    [Fact]
    public void Exclusive_can_be_added_by_a_modify()
    {
        int calls = 0;
        Subscription<EventFd> subscription = WatchRaised((_, _) => calls++);
        Reactor.Modify(subscription, Interest.Readable.Exclusive);
        Reactor.Modify(subscription, Interest.Readable.AndWritable.Exclusive);
        Turn();
        Assert.Equal(1, calls);
    }

    [Fact]
    public void An_exclusive_interest_that_the_kernel_refuses_leaves_the_old_one_in_force()
    {
        Subscription<OwnedFd> subscription = Watch(Interest.Readable.Exclusive);
        KernelException refused = Assert.Throws<KernelException>(
            () => Reactor.Modify(subscription, Interest.Readable.AndReadHangUp.Exclusive));
        Assert.Equal(Errno.Invalid, refused.Errno);
        Assert.Contains("exclusive", refused.Message, StringComparison.Ordinal);
        Assert.Equal(Interest.Readable.Exclusive, subscription.Interest);
        _sockets.PeerSends();
        Assert.Single(Look());
    }

    [Fact]
    public void Wake_up_changes_nothing_that_a_program_without_the_capability_could_see()
    {
        Subscription<OwnedFd> subscription = Watch(Interest.Readable.WakeUp);
        _sockets.PeerSends();
        Assert.Single(Look());
        Reactor.Modify(subscription, subscription.Interest.WithoutWakeUp);
        Assert.Single(Look());
    }

    [Fact]
    public void A_full_hang_up_is_reported_even_to_no_interest_at_all()
    {
        Watch(Interest.None);
        _sockets.Peer.Dispose();
        Assert.True(Assert.Single(Look()).IsHangUp);
    }

    [Fact]
    public void A_pipe_without_a_reader_is_in_error_and_one_without_a_writer_hangs_up()
    {
        using Pipe pipe = new();
        Interest.None.WithFd(pipe.Read).WithHandler((OwnedFd _, Readiness ready, IReactor _) => _seen.Add(ready)).RegisterInto(Reactor);
        pipe.CloseWriteEnd();
        Readiness ready = Assert.Single(Look());
        Assert.True(ready.IsHangUp);
        Assert.Equal("hang-up", ready.ToString());
    }

    public static TheoryData<Interest, Interest, Func<Interest, bool>> Flags => new()
    {
        { Interest.None.AndReadable, Interest.Readable.WithoutReadable, interest => interest.IsReadable },
        { Interest.None.AndWritable, Interest.Writable.WithoutWritable, interest => interest.IsWritable },
        { Interest.None.AndReadHangUp, Interest.ReadHangUp.WithoutReadHangUp, interest => interest.IsReadHangUp },
        { Interest.None.AndPriority, Interest.Priority.WithoutPriority, interest => interest.IsPriority },
        { Interest.None.EdgeTriggered, Interest.None.EdgeTriggered.WithoutEdgeTriggered, interest => interest.IsEdgeTriggered },
        { Interest.None.OneShot, Interest.None.OneShot.WithoutOneShot, interest => interest.IsOneShot },
        { Interest.None.Exclusive, Interest.None.Exclusive.WithoutExclusive, interest => interest.IsExclusive },
        { Interest.None.WakeUp, Interest.None.WakeUp.WithoutWakeUp, interest => interest.IsWakeUp },
    };

    [Theory]
    [MemberData(nameof(Flags), DisableDiscoveryEnumeration = true)]
    public void Each_flag_is_set_alone_and_taken_away_alone(Interest with, Interest without, Func<Interest, bool> isSet)
    {
        Assert.True(isSet(with));
        Assert.False(isSet(without));
        Assert.Equal(1, Flags.Count(row => row.Data.Item3(with)));
        Assert.Equal(Interest.None, without);
        Assert.NotEqual("none", with.ToString());
        Assert.Equal("none", without.ToString());
    }

    public override void Dispose()
    {
        base.Dispose();
        GC.SuppressFinalize(this);
        _sockets.Dispose();
    }

    private Subscription<OwnedFd> Watch(Interest interest) =>
        interest.WithFd(_sockets.Watched).WithHandler((OwnedFd _, Readiness ready, IReactor _) => _seen.Add(ready)).RegisterInto(Reactor);

    /// <summary>What the next wait reports.</summary>
    private List<Readiness> Look()
    {
        _seen.Clear();
        Turn();
        return [.. _seen];
    }
}

public sealed class InterestOnEpollTests : InterestTests;

public sealed class InterestOnIoRingTests : InterestTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
