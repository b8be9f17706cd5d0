namespace Vmm.Events.Tests;

public sealed class EventFdTests
{
    [Fact]
    public void Signals_add_up_until_they_are_read()
    {
        using EventFd fd = new();
        fd.Signal();
        fd.Signal(2);
        Assert.True(fd.TryRead(out ulong count));
        Assert.Equal(3u, count);
        Assert.False(fd.TryRead(out _));
    }

    [Fact]
    public void A_kick_reaches_the_handler_with_its_own_descriptor()
    {
        using Reactor reactor = new();
        EventFd kick = new();
        EventFd? got = null;
        Interest.Readable.EdgeTriggered.WithFd(kick).WithHandler((fd, _) => got = fd).RegisterInto(reactor);
        kick.Signal();
        Assert.Equal(1, reactor.RunOnce(TimeSpan.Zero));
        Assert.Same(kick, got);
    }
}
