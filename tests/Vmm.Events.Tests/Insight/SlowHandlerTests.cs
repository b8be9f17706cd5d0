using System.Collections.Concurrent;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

public abstract class SlowHandlerTests : ReactorSuite
{
    private readonly BlockingCollection<SlowHandler> _slow = [];

    protected override ReactorOptions Options => base.Options with { SlowHandlerAfter = TimeSpan.FromMilliseconds(5), OnSlowHandler = _slow.Add };

    [Fact]
    public void A_handler_that_never_seems_to_return_is_reported_by_name_while_it_runs_and_when_it_ends()
    {
        SlowHandler during = default;
        Interest.Kick.WithFd(new EventFd(initial: 1))
            .WithHandler(_ => Assert.True(_slow.TryTake(out during, Patience))).OwnedBy(new Subscriber("vda")).RegisterInto(Reactor);
        Turn();
        Assert.True(during.IsStillRunning);
        Assert.StartsWith("vda/EventFd", during.Source, StringComparison.Ordinal);
        SlowHandler after = TakeEnded(during.Source);
        Assert.True(after.Held >= during.Held);
        Assert.True(during.Held >= TimeSpan.FromMilliseconds(5));
        Assert.Empty(Failures);
    }

    [Fact]
    public void A_slow_remote_call_and_a_slow_timer_are_reported_under_their_own_names()
    {
        Reactor.Remote.CreateDoorbell(_ => Thread.Sleep(10), "the bell").Ring();
        Reactor.RunOnce(Patience);
        TakeEnded("the bell");
        Reactor.Timers.Create((_, _) => Thread.Sleep(10), "the timer").Arm(TimeSpan.Zero);
        Reactor.RunOnce(Patience);
        TakeEnded("the timer");
    }

    [Fact]
    public void A_report_that_throws_is_a_failure_and_no_end()
    {
        // Told by the reactor's thread and by the one that looks while a handler runs, at the same time.
        using BlockingCollection<HandlerFailure> failures = [];
        Configure(options => options with { OnSlowHandler = _ => throw new InvalidDataException(), OnHandlerFailure = failures.Add });
        WatchRaised((fd, _) => Thread.Sleep(fd.TryRead(out ulong _) ? 10 : 0));
        Turn();
        Assert.True(failures.TryTake(out HandlerFailure failure, Patience));
        Assert.StartsWith("the report of slow EventFd", failure.Source, StringComparison.Ordinal);
        Reactor.Dispose();
    }

    [Fact]
    public void A_time_that_makes_no_sense_is_refused() =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new Reactor(new ReactorOptions { SlowHandlerAfter = TimeSpan.Zero }));

    public override void Dispose()
    {
        base.Dispose();
        _slow.Dispose();
        GC.SuppressFinalize(this);
    }

    [Fact]
    public void A_handler_that_goes_on_is_reported_once_while_it_runs()
    {
        int more = 0;
        Interest.Kick.WithFd(new EventFd(initial: 1)).WithHandler(_ =>
        {
            SlowHandler during;
            do Assert.True(_slow.TryTake(out during, Patience));
            while (!during.IsStillRunning);
            // The watch looks several times more.
            Thread.Sleep(50);
            while (_slow.TryTake(out SlowHandler again)) more += again.IsStillRunning && again.Source == during.Source ? 1 : 0;
        }).RegisterInto(Reactor);
        Turn();
        Assert.Equal(0, more);
        Assert.Empty(Failures);
    }

    /// <summary>The report of a handler that has ended; before it, others may have been slow on a busy machine.</summary>
    private SlowHandler TakeEnded(string source)
    {
        SlowHandler slow;
        do
        {
            Assert.True(_slow.TryTake(out slow, Patience), $"no report of {source}");
        }
        while (slow.IsStillRunning || slow.Source != source);
        return slow;
    }
}

public sealed class SlowHandlerOnEpollTests : SlowHandlerTests;

public sealed class SlowHandlerOnIoRingTests : SlowHandlerTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
