namespace Vmm.Events.Tests;

/// <summary>When the poller looks for events before a wait that may block, and when it leaves it.</summary>
public sealed class EpollPollerTests : IDisposable
{
    private const int EventsMax = 64;

    private readonly EpollPoller _poller = new(EventsMax);
    private readonly List<EventFd> _fds = [];

    public void Dispose()
    {
        _poller.Dispose();
        foreach (EventFd fd in _fds) fd.Dispose();
    }

    private EventFd Watch()
    {
        EventFd fd = new();
        _fds.Add(fd);
        Assert.Equal(Errno.None, _poller.Add(fd.Number, Interest.Kick.Bits, (ulong)_fds.Count));
        return fd;
    }

    /// <summary>Asks for looks at a set in which something is ready, until one is made.</summary>
    private int LooksRefused(EventFd fd)
    {
        int refused = 0;
        fd.Signal();
        while (_poller.Look().Length == 0) refused++;
        return refused;
    }

    [Fact]
    public void What_is_ready_is_found_without_a_wait_as_long_as_it_is()
    {
        EventFd fd = Watch();
        for (int i = 0; i < 100; i++)
        {
            fd.Signal();
            Assert.Equal(1ul, Assert.Single(_poller.Look().ToArray()).Data);
        }
    }

    [Fact]
    public void A_miss_spares_the_next_looks_and_hits_bring_them_back()
    {
        EventFd fd = Watch();
        Assert.Equal(0, _poller.Look().Length);
        Assert.Equal(4, LooksRefused(fd));
        Assert.Equal(2, LooksRefused(fd));
        Assert.Equal(1, LooksRefused(fd));
        Assert.Equal(0, LooksRefused(fd));
    }

    [Fact]
    public void However_many_miss_one_wait_in_64_looks()
    {
        EventFd fd = Watch();
        for (int i = 0; i < 10_000; i++) Assert.Equal(0, _poller.Look().Length);
        Assert.InRange(LooksRefused(fd), 0, EpollPoller.WaitsPerLookMax);
        Assert.Equal(EpollPoller.WaitsPerLookMax / 2, LooksRefused(fd));
    }

    [Fact]
    public void What_is_not_looked_for_is_found_by_the_wait()
    {
        EventFd fd = Watch();
        Assert.Equal(0, _poller.Look().Length);
        fd.Signal();
        Assert.Equal(0, _poller.Look().Length);
        Assert.Equal(1, _poller.Wait(-1).Length);
    }

    [Fact]
    public void A_look_brings_few_and_many_at_a_time_end_the_looks()
    {
        for (int i = 0; i < 20; i++) Watch();
        foreach (EventFd fd in _fds) fd.Signal();
        Assert.Equal(EpollPoller.LookEventsMax, _poller.Look().Length);
        Assert.Equal(20 - EpollPoller.LookEventsMax, _poller.Wait(-1).Length);
        Assert.Equal(EpollPoller.WaitsPerLookMax, LooksRefused(_fds[0]));
    }

    [Fact]
    public void A_poller_for_single_events_gives_single_events()
    {
        using EpollPoller narrow = new(1);
        EventFd[] fds = [new(), new()];
        foreach (EventFd fd in fds)
        {
            narrow.Add(fd.Number, Interest.Kick.Bits, (ulong)fd.Number);
            fd.Signal();
        }
        Assert.Equal(1, narrow.Look().Length);
        Assert.Equal(1, narrow.Look().Length);
        Assert.Equal(0, narrow.Wait(0).Length);
        foreach (EventFd fd in fds) fd.Dispose();
    }
}
