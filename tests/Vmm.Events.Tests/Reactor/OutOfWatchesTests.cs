using Vmm.Events.Native;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>
/// The user's limit of epoll watches is reached (ENOSPC of epoll_ctl(2)): the kernel says so, by a filter on the test's thread.
/// </summary>
[Collection(Alone.Name)]
public sealed class OutOfWatchesTests
{
    private static void Exhaust() => ForbiddenCall.Forbid(ForbiddenCall.EpollCtl, Errno.NoSpace, Libc.EPOLL_CTL_ADD);

    [Fact]
    public void An_add_says_what_to_raise_and_the_reactor_goes_on_with_what_it_has() => ForbiddenCall.OnThread(() =>
    {
        using Reactor reactor = new();
        int calls = 0;
        EventFd watched = new();
        Subscription<EventFd> first = Interest.Kick.WithFd(watched).WithHandler(_ => calls++).RegisterInto(reactor);
        Exhaust();

        using EventFd tooMany = new();
        Subscription<EventFd> refused = Interest.Kick.WithFd(tooMany).WithHandler(_ => calls++);
        for (int round = 0; round < 2; round++)
        {
            KernelException refusal = Assert.Throws<KernelException>(() => reactor.Add(refused));
            Assert.Equal(Errno.NoSpace, refusal.Errno);
            Assert.Contains("max_user_watches", refusal.Message, StringComparison.Ordinal);
            Assert.Equal((false, false), (refused.IsRegistered, tooMany.IsClosed));
        }
        watched.Signal();
        tooMany.Signal();
        Assert.Equal(1, reactor.RunOnce(TimeSpan.FromSeconds(20)));
        reactor.Modify(first, Interest.Kick.OneShot);
        Assert.True(reactor.Remove(first));
        Assert.Equal(1, calls);
    });

    [Fact]
    public void A_reactor_that_cannot_watch_its_own_wake_up_leaves_no_descriptor_open() => ForbiddenCall.OnThread(() =>
    {
        new Reactor().Dispose();
        Exhaust();
        const int reactors = 20;
        int before = OpenDescriptors.Count();
        for (int i = 0; i < reactors; i++)
        {
            KernelException refusal = Assert.Throws<KernelException>(() => new Reactor());
            Assert.Equal(Errno.NoSpace, refusal.Errno);
        }
        // What the runtime opened meanwhile is less than one each.
        Assert.True(OpenDescriptors.Count() - before < reactors);
    });

    [Fact]
    public void A_reactor_that_waits_with_a_ring_has_no_such_limit() => ForbiddenCall.OnThread(() =>
    {
        using Reactor reactor = new(new ReactorOptions { Poller = PollerKind.IoRing });
        Assert.Equal(PollerKind.IoRing, reactor.Poller);
        Exhaust();
        EventFd fd = new();
        Interest.Kick.WithFd(fd).WithHandler(_ => { }).RegisterInto(reactor);
        fd.Signal();
        Assert.Equal(1, reactor.RunOnce(TimeSpan.FromSeconds(20)));
    });
}
