using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>One descriptor that wakes a loop, on each poller.</summary>
public abstract class NotifierTests : ReactorSuite
{
    [Fact]
    public void One_wait_hears_any_number_of_notifications_once()
    {
        using Reactor reactor = NewReactor();
        using Notifier notifier = new();
        int calls = 0;
        notifier.Wait(reactor, _ =>
        {
            calls++;
            return NotifyAction.Rearm;
        });
        for (int i = 0; i < 1000; i++) Assert.True(notifier.Notify());
        Run(reactor);
        Assert.Equal(1, calls);
        notifier.Notify();
        Run(reactor);
        Assert.Equal(2, calls);
    }

    [Fact]
    public void A_notification_before_the_first_wait_is_delivered()
    {
        using Reactor reactor = NewReactor();
        using Notifier notifier = new();
        Assert.True(notifier.Notify());
        int calls = 0;
        notifier.Wait(reactor, _ =>
        {
            calls++;
            return NotifyAction.Disarm;
        });
        Run(reactor);
        Assert.Equal(1, calls);
    }

    [Fact]
    public void A_disarmed_notifier_keeps_what_comes_for_the_next_wait()
    {
        using Reactor reactor = NewReactor();
        using Notifier notifier = new();
        int calls = 0;
        NotifyAction Handle(IReactor _)
        {
            calls++;
            return NotifyAction.Disarm;
        }

        notifier.Wait(reactor, Handle);
        Assert.True(notifier.IsArmed);
        Assert.Throws<InvalidOperationException>(() => notifier.Wait(reactor, Handle));
        notifier.Notify();
        Run(reactor);
        Assert.False(notifier.IsArmed);
        notifier.Notify();
        Run(reactor);
        Assert.Equal(1, calls);
        notifier.Wait(reactor, Handle);
        Run(reactor);
        Assert.Equal(2, calls);
    }

    [Fact]
    public void A_notification_from_inside_the_handler_is_one_more_call()
    {
        using Reactor reactor = NewReactor();
        using Notifier notifier = new();
        int calls = 0;
        notifier.Wait(reactor, _ =>
        {
            if (++calls == 1) notifier.Notify();
            return NotifyAction.Rearm;
        });
        notifier.Notify();
        Run(reactor);
        Run(reactor);
        Run(reactor);
        Assert.Equal(2, calls);
    }

    [Fact]
    public void A_full_counter_counts_as_delivered()
    {
        using Reactor reactor = NewReactor();
        using Notifier notifier = new();
        notifier.Fd.Signal(ulong.MaxValue - 1);
        Assert.True(notifier.Notify());
        int calls = 0;
        notifier.Wait(reactor, _ =>
        {
            calls++;
            return NotifyAction.Rearm;
        });
        Run(reactor);
        Assert.Equal(1, calls);
    }

    [Fact]
    public void Notifying_a_loop_that_is_gone_is_a_value_not_a_crash()
    {
        Reactor reactor = NewReactor();
        Notifier notifier = new();
        notifier.Wait(reactor, _ => NotifyAction.Rearm);
        reactor.Dispose();
        Assert.False(notifier.Notify());
        notifier.Dispose();
        Assert.False(notifier.Notify());
    }

    [Fact]
    public void A_notifier_serves_one_loop_only()
    {
        using Reactor reactor = NewReactor();
        using Reactor other = NewReactor();
        using Notifier notifier = new();
        notifier.Wait(reactor, _ => NotifyAction.Disarm);
        notifier.Notify();
        Run(reactor);
        Assert.Throws<InvalidOperationException>(() => notifier.Wait(other, _ => NotifyAction.Disarm));
    }

    [Fact]
    public async Task No_notification_of_many_threads_is_lost()
    {
        const int Threads = 4;
        const int Each = 20_000;
        using CancellationTokenSource stop = new(TimeSpan.FromSeconds(30));
        using Notifier notifier = new();
        long said = 0;
        long heard = 0;
        using Reactor reactor = NewReactor();
        notifier.Wait(reactor, _ =>
        {
            heard = Interlocked.Read(ref said);
            if (heard == Threads * Each) stop.Cancel();
            return NotifyAction.Rearm;
        });
        Task[] notifying = [.. Enumerable.Range(0, Threads).Select(_ => Task.Run(() =>
        {
            for (int i = 0; i < Each; i++)
            {
                Interlocked.Increment(ref said);
                notifier.Notify();
            }
        }))];
        reactor.Run(stop.Token);
        await Task.WhenAll(notifying);
        Assert.Equal(Threads * Each, heard);
    }

    [Fact]
    public void A_first_wait_that_is_refused_leaves_the_notifier_free_for_the_next()
    {
        using Reactor reactor = NewReactor();
        using Notifier notifier = new();
        int calls = 0;
        Exception? refused = null;
        Thread stranger = new(() => refused = Record.Exception(() => notifier.Wait(reactor, _ => NotifyAction.Rearm)));
        stranger.Start();
        stranger.Join();
        Assert.IsType<InvalidOperationException>(refused);
        Assert.False(notifier.IsArmed);
        notifier.Notify();
        notifier.Wait(reactor, _ =>
        {
            calls++;
            return NotifyAction.Disarm;
        });
        Run(reactor);
        Assert.Equal(1, calls);
    }

    private static void Run(Reactor reactor) => reactor.RunOnce(TimeSpan.Zero);
}

public sealed class NotifierOnEpollTests : NotifierTests;

public sealed class NotifierOnIoRingTests : NotifierTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
