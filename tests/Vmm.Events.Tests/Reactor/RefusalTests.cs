using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>Bad input and bad days: each a typed error that says what to do, and a reactor that goes on.</summary>
public abstract class RefusalTests : ReactorSuite
{
    [Fact]
    public void A_regular_file_cannot_be_polled()
    {
        string path = Path.GetTempFileName();
        try
        {
            using FileStream stream = File.OpenRead(path);
            OwnedFd file = new(Posix.Duplicate((int)stream.SafeFileHandle.DangerousGetHandle()));
            KernelException refused = Assert.Throws<KernelException>(
                () => Interest.Readable.WithFd(file).WithHandler((OwnedFd _) => { }).RegisterInto(Reactor));
            Assert.Equal(Errno.NotPermitted, refused.Errno);
            Assert.Contains("regular file", refused.Message, StringComparison.Ordinal);
            Assert.False(file.IsClosed);
            file.Dispose();
        }
        finally
        {
            File.Delete(path);
        }
        AssertStillWorks();
    }

    [Fact]
    public void A_descriptor_is_watched_once()
    {
        Subscription<EventFd> first = WatchRaised((_, _) => { });
        Assert.Throws<InvalidOperationException>(() => Reactor.Add(first));
        InvalidOperationException refused = Assert.Throws<InvalidOperationException>(
            () => Interest.Readable.WithFd(first.Fd).WithHandler(_ => { }).RegisterInto(Reactor));
        Assert.Contains("watched already", refused.Message, StringComparison.Ordinal);
        Assert.True(first.IsRegistered);
        AssertStillWorks();
    }

    [Fact]
    public void A_subscription_of_one_reactor_is_unknown_to_another()
    {
        Subscription<EventFd> subscription = WatchRaised((_, _) => { });
        using Reactor other = NewReactor();
        Assert.Throws<InvalidOperationException>(() => other.Add(subscription));
        Assert.Throws<InvalidOperationException>(() => other.Modify(subscription, Interest.None));
        Assert.False(other.Remove(subscription));
        Assert.False(other.Detach(subscription));
    }

    [Fact]
    public void A_closed_handle_is_refused()
    {
        EventFd closed = new();
        closed.Dispose();
        Assert.Throws<ObjectDisposedException>(() => Interest.Readable.WithFd(closed).WithHandler(_ => { }).RegisterInto(Reactor));
        AssertStillWorks();
    }

    [Fact]
    public void A_descriptor_closed_behind_the_library_s_back_is_refused_by_the_kernel()
    {
        // A number far beyond what this process opens: closed for sure.
        OwnedFd lost = new(900_000);
        KernelException refused = Assert.Throws<KernelException>(
            () => Interest.Readable.WithFd(lost).WithHandler((OwnedFd _) => { }).RegisterInto(Reactor));
        Assert.Equal(Errno.BadDescriptor, refused.Errno);
        lost.SetHandleAsInvalid();
        AssertStillWorks();
    }

    [Fact]
    public void I5_every_member_but_the_remote_endpoint_throws_on_another_thread()
    {
        Subscription<EventFd> subscription = WatchRaised((_, _) => { });
        Turn();
        Action[] members =
        [
            () => Reactor.Add(subscription),
            () => Reactor.Modify(subscription, Interest.None),
            () => Reactor.Remove(subscription),
            () => Reactor.Detach(subscription),
            () => Reactor.TryFind(1, out _),
            () => Reactor.TakeApart(),
            () => _ = Reactor.Statistics,
            () => Turn(),
            () => Reactor.Run(),
            Reactor.Dispose,
        ];
        Exception?[] thrown = new Exception?[members.Length];
        Exception? remote = null;
        OnAnotherThread(() =>
        {
            for (int i = 0; i < members.Length; i++) thrown[i] = Record.Exception(members[i]);
            remote = Record.Exception(() => Reactor.Remote.Post(_ => { }));
        });
        Assert.All(thrown, exception => Assert.IsType<InvalidOperationException>(exception));
        Assert.Null(remote);
        Assert.True(subscription.IsRegistered);
        AssertStillWorks();
    }

    [Fact]
    public void I5_a_reactor_belongs_to_the_first_thread_that_runs_it()
    {
        Subscription<EventFd> subscription = WatchRaised((_, _) => { });
        OnAnotherThread(() =>
        {
            Assert.Equal(1, Turn());
            Assert.Throws<ArgumentOutOfRangeException>(() => Reactor.RunOnce(TimeSpan.FromMilliseconds(-2)));
            // Between two turns of it.
            OnAnotherThread(() =>
            {
                Assert.Throws<InvalidOperationException>(() => Turn());
                Assert.Throws<InvalidOperationException>(() => Reactor.Remove(subscription));
            });
        });
    }

    [Fact]
    public void A_reactor_that_was_run_to_its_end_belongs_to_whoever_takes_it_apart()
    {
        Subscription<EventFd> subscription = WatchRaised((_, _) => { });
        OnAnotherThread(() => Reactor.Run(new CancellationToken(canceled: true)));
        Assert.Throws<ReactorStoppedException>(() => Turn());
        Assert.Same(subscription, Assert.Single(Reactor.TakeApart()));
    }

    [Fact]
    public void A_reactor_whose_thread_ended_between_two_runs_has_stopped_with_it()
    {
        Subscription<EventFd> subscription = WatchRaised((_, _) => { });
        int taken = 0;
        OnAnotherThread(() => taken = Turn());
        Assert.Equal(1, taken);
        Reactor.Remote.Post(_ => Assert.Fail("nobody runs it"));
        Assert.Empty(Failures);
        Assert.Throws<ReactorStoppedException>(() => Reactor.Remote.Invoke(_ => 1, cancellation: TestContext.Current.CancellationToken));
        Assert.IsType<ReactorStoppedException>(Assert.Single(Failures).Exception);
        Assert.False(Reactor.Remote.IsReactorThread);
        Assert.Throws<ReactorStoppedException>(() => Turn());
        Assert.Same(subscription, Assert.Single(Reactor.TakeApart()));
    }

    [Fact]
    public void Of_the_threads_that_come_when_the_one_that_ran_a_reactor_has_ended_one_has_it()
    {
        const int threads = 8;
        for (int round = 0; round < 50; round++)
        {
            using Barrier gate = new(threads);
            Reactor reactor = NewReactor();
            OnAnotherThread(() => reactor.RunOnce(TimeSpan.Zero));
            int owners = 0;
            // One of these may lie on its stack, and one may have its number.
            Thread[] comers = [.. Enumerable.Range(0, threads).Select(_ => new Thread(() =>
            {
                gate.SignalAndWait();
                bool isOwner = Record.Exception(() => { reactor.TryFind(0, out Subscription? _); }) is null;
                if (isOwner) Interlocked.Increment(ref owners);
                gate.SignalAndWait();
                if (isOwner) reactor.Dispose();
            }))];
            foreach (Thread comer in comers) comer.Start();
            foreach (Thread comer in comers) Assert.True(comer.Join(Patience));
            Assert.Equal(1, owners);
        }
    }

    [Fact]
    public void A_reactor_that_was_never_run_is_whose_who_comes_when_its_maker_has_ended()
    {
        Reactor? reactor = null;
        OnAnotherThread(() => reactor = NewReactor());
        Interest.Kick.WithFd(new EventFd(initial: 1)).WithHandler(_ => { }).RegisterInto(reactor!);
        OnAnotherThread(() => Assert.IsType<InvalidOperationException>(Record.Exception(reactor!.Dispose)));
        Assert.Equal(1, reactor!.RunOnce(TimeSpan.Zero));
        reactor.Dispose();
    }

    [Fact]
    public void What_another_thread_allocated_is_not_counted_to_a_reactor_whose_thread_has_ended()
    {
        const int much = 64 << 20;
        GC.KeepAlive(GC.AllocateUninitializedArray<byte>(much));
        Reactor? reactor = null;
        OnAnotherThread(() =>
        {
            reactor = NewReactor();
            reactor.RunOnce(TimeSpan.Zero);
        });
        Assert.InRange(reactor!.Statistics.AllocatedBytes, 0, much / 2);
        reactor.Dispose();
    }

    [Fact]
    public void A_missing_argument_is_named()
    {
        using Subscriber device = new("vda");
        Assert.Throws<ArgumentNullException>("subscription", () => Reactor.Add(null!));
        Assert.Throws<ArgumentNullException>("subscription", () => Reactor.Modify(null!, Interest.Readable));
        Assert.Throws<ArgumentNullException>("subscription", () => Reactor.Remove(null!));
        Assert.Throws<ArgumentNullException>("subscription", () => Reactor.Detach((Subscription)null!));
        Assert.Throws<ArgumentNullException>("reactor", () => device.RemoveFrom(null!));
        Assert.Throws<ArgumentNullException>("handler", () => Reactor.Timers.Create(null!));
        Assert.Throws<ArgumentNullException>("function", () => Reactor.Remote.Invoke((Action<IReactor>)null!));
        Assert.Throws<ArgumentNullException>("function", () => Reactor.Remote.Invoke((Func<IReactor, int>)null!));
        Assert.Throws<ArgumentNullException>("call", () => Reactor.Remote.Post((RemoteCall)null!));
        foreach ((string name, Task task) in new[]
        {
            ("subscriber", Reactor.Remote.HandOverAsync(null!, Reactor.Remote)),
            ("destination", Reactor.Remote.HandOverAsync(device, null!)),
        })
            Assert.Equal(name, Assert.IsType<ArgumentNullException>(task.Exception!.InnerException).ParamName);
    }

    [Fact]
    public void A_disposed_reactor_refuses_everything()
    {
        Subscription<EventFd> subscription = WatchRaised((_, _) => { });
        Reactor.Dispose();
        Assert.Throws<ObjectDisposedException>(() => Reactor.Add(subscription));
        Assert.Throws<ObjectDisposedException>(() => Turn());
        Assert.Throws<ObjectDisposedException>(() => Reactor.TakeApart());
        Assert.Throws<ReactorStoppedException>(() => Reactor.Remote.Post(_ => { }));
    }

    [Theory]
    [InlineData(0, 1, "x")]
    [InlineData(1, 0, "x")]
    [InlineData(1, 1, "")]
    public void Options_that_make_no_sense_are_refused(int calls, int events, string name) =>
        Assert.ThrowsAny<ArgumentException>(
            () => new Reactor(new ReactorOptions { RemoteCallsPerTurnMax = calls, EventsPerWaitMax = events, Name = name }));

    private void AssertStillWorks()
    {
        int calls = 0;
        Interest.Kick.WithFd(new EventFd(initial: 1)).WithHandler(_ => calls++).RegisterInto(Reactor);
        Turn();
        Assert.Equal(1, calls);
    }

    private static void OnAnotherThread(Action action)
    {
        Exception? failure = null;
        Thread thread = new(() => failure = Record.Exception(action));
        thread.Start();
        Assert.True(thread.Join(Patience));
        Assert.Null(failure);
    }
}

public sealed class RefusalOnEpollTests : RefusalTests;

public sealed class RefusalOnIoRingTests : RefusalTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
