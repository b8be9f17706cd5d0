using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>No descriptor left: everything that opens one says so, and leaks none.</summary>
[Collection(Alone.Name)]
public abstract class OutOfDescriptorsTests : ReactorSuite
{
    [Fact]
    public void Everything_that_opens_a_descriptor_says_that_there_is_none_left()
    {
        using EventFd existing = new();
        Action[] openers = [() => new EventFd().Dispose(), () => new TimerFd().Dispose(), () => existing.Duplicate().Dispose(), () => new Reactor().Dispose()];
        foreach (Action opener in openers)
        {
            opener();
            KernelException refused = Assert.IsType<KernelException>(WithDescriptorsLeft(0, opener));
            Assert.Equal(Errno.ProcessFileLimit, refused.Errno);
        }
    }

    [Fact]
    public void A_reactor_that_gets_one_descriptor_and_not_the_second_gives_the_first_back()
    {
        new EventFd().Dispose();
        Exception? refused = WithDescriptorsLeft(1, () => _ = new Reactor());
        Assert.Equal(Errno.ProcessFileLimit, Assert.IsType<KernelException>(refused).Errno);
        Assert.Null(WithDescriptorsLeft(1, () => new EventFd().Dispose()));
    }

    /// <summary>Lowers the limit of open descriptors to what is in use and a few more, for one action.</summary>
    protected static unsafe Exception? WithDescriptorsLeft(int count, Action action)
    {
        const int openFiles = 7;
        Posix.Limit before;
        Assert.Equal(0, Posix.GetLimit(openFiles, &before));
        // A finalizer would make room.
        OpenDescriptors.Settle();
        // The limit is on the number that a new descriptor may get: all below the lowest free one are taken.
        int lowestFree = Posix.Duplicate(0);
        Assert.Equal(0, Posix.Close(lowestFree));
        Posix.Limit lowered = before with { Soft = (ulong)(lowestFree + count) };
        Assert.Equal(0, Posix.SetLimit(openFiles, &lowered));
        try
        {
            return Record.Exception(action);
        }
        finally
        {
            Assert.Equal(0, Posix.SetLimit(openFiles, &before));
        }
    }
}

[Collection(Alone.Name)]
public sealed class OutOfDescriptorsOnEpollTests : OutOfDescriptorsTests
{
    // A ring has no ghosts to heal.
    [Fact]
    public void A_reactor_without_descriptors_goes_on_serving_and_reports_that_it_cannot_heal()
    {
        EventFd original = new();
        using EventFd duplicate = original.Duplicate();
        Subscription<EventFd> haunting = Interest.Readable.WithFd(original).WithHandler(_ => { }).RegisterInto(Reactor);
        Assert.Equal(0, Posix.Close(original.Number));
        Reactor.Remove(haunting);
        int calls = 0;
        WatchRaised((_, _) => calls++);
        duplicate.Signal();
        Assert.Null(WithDescriptorsLeft(0, () => Turn()));
        Assert.Equal(1, calls);
        Assert.IsType<KernelException>(Assert.Single(Failures).Exception);
        Turn();
        Assert.Equal(1, Reactor.Statistics.Rebuilds);
    }
}

[Collection(Alone.Name)]
public sealed class OutOfDescriptorsOnIoRingTests : OutOfDescriptorsTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
