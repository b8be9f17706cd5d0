using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

public sealed class BuilderTests : ReactorSuite
{
    [Fact]
    public void A_descriptor_may_be_named_before_its_handler_or_after_it()
    {
        EventFd first = new(initial: 1), second = new(initial: 1);
        List<EventFd> got = [];
        Interest.Kick.WithFd(first).WithHandler((EventFd fd, IReactor _) => got.Add(fd)).RegisterInto(Reactor);
        Interest.Kick.WithHandler((EventFd fd, IReactor _) => got.Add(fd)).WithFd(second).RegisterInto(Reactor);
        Turn();
        Assert.Equal([first, second], got);
    }

    [Fact]
    public void Each_shape_of_handler_gets_what_it_names_in_either_order()
    {
        List<string> got = [];
        Interest.Kick.WithFd(Raised()).WithHandler((EventFd _) => got.Add("fd")).RegisterInto(Reactor);
        Interest.Kick.WithHandler((EventFd _) => got.Add("fd")).WithFd(Raised()).RegisterInto(Reactor);
        Interest.Kick.WithFd(Raised()).WithHandler((EventFd _, Readiness ready, IReactor reactor) => Note(ready, reactor)).RegisterInto(Reactor);
        Interest.Kick.WithHandler((EventFd _, Readiness ready, IReactor reactor) => Note(ready, reactor)).WithFd(Raised()).RegisterInto(Reactor);
        Turn();
        Assert.Equal(["fd", "fd", "readable", "readable"], got);

        void Note(Readiness ready, IReactor reactor)
        {
            Assert.Same(Reactor, reactor);
            got.Add(ready.ToString());
        }
    }

    [Fact]
    public void One_handler_serves_many_descriptors()
    {
        List<EventFd> got = [];
        InterestOfHandler<EventFd> doorbell = Interest.Kick.WithHandler((EventFd fd) => got.Add(fd));
        EventFd[] fds = [Raised(), Raised(), Raised()];
        foreach (EventFd fd in fds) doorbell.WithFd(fd).RegisterInto(Reactor);
        Turn();
        Assert.Equal(fds, got);
    }

    [Fact]
    public void A_counting_handler_gets_the_count_and_is_not_called_for_none()
    {
        List<ulong> counts = [];
        EventFd kick = new();
        Interest.Readable.WithFd(kick).WithCountingHandler((_, count, _) => counts.Add(count)).RegisterInto(Reactor);
        kick.Signal(3);
        kick.Signal(4);
        Turn();
        Turn();
        Assert.Equal([7ul], counts);
    }

    [Fact]
    public void I4_a_handler_gets_its_own_typed_descriptor_and_no_other()
    {
        Dictionary<EventFd, int> calls = [];
        EventFd[] fds = [.. Enumerable.Range(0, 4).Select(_ => new EventFd())];
        Subscriber device = new("device");
        foreach (EventFd own in fds)
        {
            Interest.Kick.WithFd(own).WithHandler(fd =>
            {
                Assert.Same(own, fd);
                calls[fd] = calls.GetValueOrDefault(fd) + 1;
            }).OwnedBy(device).RegisterInto(Reactor);
        }
        for (int i = 0; i < fds.Length; i++)
        {
            fds[i].Signal();
            Turn();
            Assert.Equal(1, calls[fds[i]]);
            Assert.Equal(i + 1, calls.Count);
        }
        Assert.Empty(Failures);
    }

    [Fact]
    public void A_missing_part_is_refused_by_name()
    {
        Assert.Throws<ArgumentNullException>("fd", () => Interest.Readable.WithFd<EventFd>(null!));
        Assert.Throws<ArgumentNullException>("handler", () => Interest.Readable.WithFd(new EventFd()).WithHandler((Action<EventFd>)null!));
        Assert.Throws<ArgumentNullException>("reactor", () => Interest.Readable.WithFd(new EventFd()).WithHandler(_ => { }).RegisterInto(null!));
    }

    private static EventFd Raised() => new(initial: 1);
}
