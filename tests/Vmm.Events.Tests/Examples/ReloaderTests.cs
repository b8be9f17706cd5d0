using Vmm.Events.Tests.Support;
using Vmm.Examples.Reload;

namespace Vmm.Events.Tests.Examples;

/// <summary>The example of a notifier, on each poller.</summary>
public abstract class ReloaderTests : ReactorSuite
{
    [Fact]
    public void Requests_before_the_start_and_many_at_once_are_one_reload_and_one_while_it_runs_is_another()
    {
        int loads = 0;
        Reloader? reloader = null;
        reloader = new Reloader(_ =>
        {
            if (++loads == 2) reloader!.Request();
        });
        Assert.True(reloader.Request());
        Assert.True(reloader.Request());
        reloader.Start(Reactor);
        Turn();
        Assert.Equal(1, loads);
        // Another process, which has a copy of the descriptor.
        using EventFd theirs = reloader.Fd.Duplicate();
        theirs.Signal();
        Turn();
        Turn();
        Turn();
        Assert.Equal((3, 3), (loads, reloader.Loads));
        reloader.Dispose();
        Assert.False(reloader.Request());
    }

    [Fact]
    public void A_reload_is_asked_for_by_any_thread_and_runs_on_the_reactors()
    {
        using RunningReactor running = new(Options);
        int thread = 0;
        using SemaphoreSlim loaded = new(0);
        Reloader reloader = new(_ =>
        {
            thread = Environment.CurrentManagedThreadId;
            loaded.Release();
        });
        running.Remote.Invoke(reloader.Start, Patience, TestContext.Current.CancellationToken);
        Assert.True(reloader.Request());
        Assert.True(loaded.Wait(Patience, TestContext.Current.CancellationToken));
        Assert.Equal(running.Remote.Invoke(_ => Environment.CurrentManagedThreadId, Patience, TestContext.Current.CancellationToken), thread);
    }
}

public sealed class ReloaderOnEpollTests : ReloaderTests;

public sealed class ReloaderOnIoRingTests : ReloaderTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
