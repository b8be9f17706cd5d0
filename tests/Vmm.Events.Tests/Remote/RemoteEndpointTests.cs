using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests;

/// <summary>What other threads may count on, on each poller.</summary>
public abstract class RemoteEndpointTests : ReactorSuite
{
    private static readonly TimeSpan Short = TimeSpan.FromMilliseconds(20);
    private static CancellationToken TestEnd => TestContext.Current.CancellationToken;

    [Fact]
    public void Posts_run_on_the_reactor_s_thread_in_the_order_they_came_in()
    {
        using RunningReactor running = new(Options);
        int thread = running.Remote.Invoke(_ => Environment.CurrentManagedThreadId, Patience, TestEnd);
        List<int> order = [];
        HashSet<int> threads = [];
        for (int i = 0; i < 200; i++)
        {
            int number = i;
            running.Remote.Post(_ =>
            {
                threads.Add(Environment.CurrentManagedThreadId);
                order.Add(number);
            });
        }
        running.Remote.Invoke(_ => { }, Patience, TestEnd);
        Assert.Equal(Enumerable.Range(0, 200), order);
        Assert.Equal([thread], threads);
    }

    [Fact]
    public void A_call_gets_the_reactor_and_may_register_in_it()
    {
        using RunningReactor running = new(Options);
        using ManualResetEventSlim kicked = new();
        EventFd kick = new();
        running.Remote.Post(reactor => Interest.Kick.WithFd(kick).WithHandler(_ => kicked.Set()).RegisterInto(reactor));
        kick.Signal();
        Assert.True(kicked.Wait(Patience, TestEnd));
    }

    [Fact]
    public void Invoke_gives_the_result_and_throws_what_the_function_throws()
    {
        using RunningReactor running = new(Options);
        Assert.Equal(42, running.Remote.Invoke(_ => 42, Patience, TestEnd));
        Assert.Equal("mine", Assert.Throws<InvalidDataException>(
            () => running.Remote.Invoke(_ => throw new InvalidDataException("mine"), Patience, TestEnd)).Message);
        Assert.Throws<OperationCanceledException>(
            () => running.Remote.Invoke<int>(_ => throw new OperationCanceledException(), Patience, TestEnd));
        Assert.Throws<TimeoutException>(() => running.Remote.Invoke<int>(_ => throw new TimeoutException(), Patience, TestEnd));
        Assert.Empty(Failures);
    }

    [Fact]
    public async Task InvokeAsync_gives_the_result_and_throws_what_the_function_throws()
    {
        using RunningReactor running = new(Options);
        Assert.Equal(42, await running.Remote.InvokeAsync(_ => 42, Patience, TestEnd));
        await Assert.ThrowsAsync<InvalidDataException>(() => running.Remote.InvokeAsync<int>(_ => throw new InvalidDataException(), Patience, TestEnd));
    }

    [Fact]
    public async Task InvokeAsync_continues_elsewhere_than_on_the_reactor_s_thread()
    {
        using RunningReactor running = new(Options);
        int reactorThread = await running.Remote.InvokeAsync(_ => Environment.CurrentManagedThreadId, Patience, TestEnd);
        Assert.NotEqual(reactorThread, Environment.CurrentManagedThreadId);
    }

    [Fact]
    public async Task InvokeAsync_may_be_called_on_the_reactor_s_own_thread()
    {
        using RunningReactor running = new(Options);
        Task<int> inner = await running.Remote.InvokeAsync(_ => running.Remote.InvokeAsync(_ => 7, Patience, TestEnd), Patience, TestEnd);
        Assert.Equal(7, await inner.WaitAsync(Patience, TestEnd));
    }

    [Fact]
    public void I6_invoke_on_the_reactor_s_own_thread_throws_at_once()
    {
        using RunningReactor running = new(Options);
        Exception? own = running.Remote.Invoke(_ => Record.Exception(() => running.Remote.Invoke(_ => 1, Patience, TestEnd)), Patience, TestEnd);
        Assert.IsType<InvalidOperationException>(own);
        Assert.True(running.Remote.Invoke(_ => running.Remote.IsReactorThread, Patience, TestEnd));
        Assert.False(running.Remote.IsReactorThread);
    }

    [Fact]
    public void I6_invoke_on_the_thread_that_made_the_reactor_throws_before_any_run()
    {
        using Reactor reactor = NewReactor();
        bool ran = false;
        Assert.Contains("run", Assert.Throws<InvalidOperationException>(() => reactor.Remote.Invoke(_ => ran = true, cancellation: TestEnd)).Message,
            StringComparison.Ordinal);
        Assert.Throws<InvalidOperationException>(() => reactor.Remote.Invoke(_ => { ran = true; }, Short, TestEnd));
        Assert.Equal(0, reactor.RunOnce(TimeSpan.Zero));
        Assert.Throws<InvalidOperationException>(() => reactor.Remote.Invoke(_ => 1, Short, TestEnd));
        Assert.False(ran);
    }

    [Fact]
    public void I6_a_call_that_is_queued_in_one_reactor_is_refused_by_another()
    {
        using Reactor first = NewReactor(), second = NewReactor();
        Counted counted = new();
        CountedCall call = new(counted);
        Assert.True(first.Remote.Post(call));
        Assert.Contains("queue", Assert.Throws<InvalidOperationException>(() => second.Remote.Post(call)).Message, StringComparison.Ordinal);
        Assert.Throws<InvalidOperationException>(() => second.Remote.TryPost(call));
        Assert.False(first.Remote.Post(call));
        Assert.Equal(0, second.RunOnce(TimeSpan.Zero));
        Assert.Equal(1, first.RunOnce(TimeSpan.Zero));
        Assert.True(second.Remote.Post(call));
        Assert.Equal(1, second.RunOnce(TimeSpan.Zero));
        Assert.Equal(2, counted.Runs);
    }

    [Fact]
    public void I6_of_two_reactors_that_race_for_a_call_each_runs_it_or_refuses_it()
    {
        using RunningReactor first = new(Options with { Name = "first" }), second = new(Options with { Name = "second" });
        int runs = 0, accepted = 0;
        CallOfMany call = new(() => Interlocked.Increment(ref runs));
        Thread[] threads = [.. new[] { first, second }.Select(running => new Thread(() =>
        {
            for (int i = 0; i < 20_000; i++)
            {
                try
                {
                    if (running.Remote.Post(call)) Interlocked.Increment(ref accepted);
                }
                catch (InvalidOperationException)
                {
                    // The other one has it.
                }
            }
        }))];
        foreach (Thread thread in threads) thread.Start();
        foreach (Thread thread in threads) Assert.True(thread.Join(Patience));
        first.Remote.Invoke(_ => { }, Patience, TestEnd);
        second.Remote.Invoke(_ => { }, Patience, TestEnd);
        Assert.Equal(accepted, runs);
    }

    [Fact]
    public void A_call_to_a_reactor_that_another_event_woke_costs_no_wake_up()
    {
        // The reactor really sleeps, an event of its own wakes it, and the handler's thread is awake while another posts.
        using Reactor reactor = NewReactor();
        using TimerFd timer = new();
        int calls = 0, ran = 0;
        Subscription<TimerFd> due = Interest.Readable.EdgeTriggered.WithFd(timer).WithHandler((TimerFd _) =>
        {
            calls++;
            Thread poster = new(() => reactor.Remote.Post(_ => ran++));
            poster.Start();
            poster.Join();
        });
        due.RegisterInto(reactor);
        for (int i = 0; i < 3; i++)
        {
            timer.Arm(TimeSpan.FromMilliseconds(5));
            while (calls <= i || ran <= i) reactor.RunOnce(Patience);
        }
        Assert.False(reactor.Remote.Wakeful.Fd.TryRead(out ulong signals), $"{signals} signals to a reactor that was awake");
        Assert.Equal(0, reactor.Statistics.WakeUps);
        reactor.Remove(due);
    }

    [Fact]
    public void A_run_that_has_ended_leaves_no_reactor_thread()
    {
        // A later thread may get the stack and the number of the one that ran it, and is not that one.
        using Reactor reactor = NewReactor();
        reactor.RunOnce(TimeSpan.Zero);
        Assert.True(reactor.Remote.IsReactorThread);
        reactor.Run(new CancellationToken(canceled: true));
        Assert.False(reactor.Remote.IsReactorThread);
    }

    [Fact]
    public void A_call_that_did_not_start_in_time_never_does()
    {
        using Reactor reactor = NewReactor();
        bool ran = false;
        Exception? late = null;
        // A thread that does not own the reactor, which does not run yet.
        Thread caller = new(() => late = Record.Exception(() => reactor.Remote.Invoke(_ => ran = true, Short)));
        caller.Start();
        caller.Join();
        Assert.IsType<TimeoutException>(late);
        Assert.Equal(1, reactor.RunOnce(TimeSpan.Zero));
        Assert.False(ran);
    }

    [Fact]
    public async Task An_async_call_that_did_not_start_in_time_never_does()
    {
        RemoteEndpoint? remote = null;
        bool ran = false;
        using ManualResetEventSlim goOn = new();
        using RunningReactor running = new(Options);
        remote = running.Remote;
        remote.Post(_ => goOn.Wait(Patience));
        await Assert.ThrowsAsync<TimeoutException>(() => remote.InvokeAsync(_ => ran = true, Short, TestEnd));
        goOn.Set();
        remote.Invoke(_ => { }, Patience, TestEnd);
        Assert.False(ran);
    }

    [Fact]
    public void A_call_that_had_started_goes_on_after_its_caller_gave_up()
    {
        using RunningReactor running = new(Options);
        using ManualResetEventSlim started = new(), goOn = new();
        using CancellationTokenSource cancel = new();
        bool ended = false;
        Thread canceller = new(() =>
        {
            started.Wait();
            cancel.Cancel();
        });
        canceller.Start();
        Assert.Throws<OperationCanceledException>(() => running.Remote.Invoke(_ =>
        {
            started.Set();
            ended = goOn.Wait(Patience);
        }, cancellation: cancel.Token));
        goOn.Set();
        running.Remote.Invoke(_ => { }, Patience, TestEnd);
        canceller.Join();
        Assert.True(ended);
    }

    [Fact]
    public void The_next_call_of_a_thread_that_gave_up_gets_its_own_result()
    {
        using RunningReactor running = new(Options);
        using ManualResetEventSlim started = new(), goOn = new();
        using CancellationTokenSource cancel = new();
        running.Remote.Invoke(_ => 0, Patience, TestEnd);
        Thread canceller = new(() =>
        {
            started.Wait();
            cancel.Cancel();
        });
        canceller.Start();
        Assert.Throws<OperationCanceledException>(() => running.Remote.Invoke(_ =>
        {
            started.Set();
            goOn.Wait(Patience);
            return 1;
        }, cancellation: cancel.Token));
        canceller.Join();
        running.Remote.Post(_ => { });
        goOn.Set();
        Assert.Equal(2, running.Remote.Invoke(_ => 2, Patience, TestEnd));
    }

    [Fact]
    public void Calls_of_many_threads_get_their_own_results_though_some_of_them_give_up()
    {
        const int threads = 4, calls = 2_000, oneInGivesUp = 16;
        using RunningReactor running = new(Options);
        int wrong = 0, done = 0;
        Thread[] callers = [.. Enumerable.Range(0, threads).Select(thread => new Thread(() =>
        {
            for (int i = 0; i < calls; i++)
            {
                int number = (thread * calls) + i;
                try
                {
                    TimeSpan timeout = i % oneInGivesUp == 0 ? TimeSpan.Zero : Patience;
                    if (running.Remote.Invoke(_ => number, timeout) != number) Interlocked.Increment(ref wrong);
                    Interlocked.Increment(ref done);
                }
                catch (TimeoutException) when (i % oneInGivesUp == 0)
                {
                    // It had no time.
                }
            }
        }))];
        Array.ForEach(callers, caller => caller.Start());
        Array.ForEach(callers, caller => caller.Join());
        Assert.Equal(0, wrong);
        Assert.InRange(done, threads * (calls - (calls / oneInGivesUp)), threads * calls);
    }

    [Fact]
    public void A_thread_that_waits_for_its_calls_allocates_nothing()
    {
        using RunningReactor running = new(Options);
        int calls = 0;
        Func<IReactor, int> function = _ => ++calls;
        Action<IReactor> action = _ => calls++;
        SteadyState.AllocatesNothing(() =>
        {
            for (int i = 0; i < 1_000; i++)
            {
                running.Remote.Invoke(function);
                running.Remote.Invoke(action);
            }
        });
        Assert.Equal(0, calls % 2_000);
    }

    [Fact]
    public async Task A_cancelled_call_never_starts()
    {
        using Reactor reactor = NewReactor();
        bool ran = false;
        using CancellationTokenSource cancel = new();
        Task<bool> pending = reactor.Remote.InvokeAsync(_ => ran = true, cancellation: cancel.Token);
        cancel.Cancel();
        Assert.Throws<OperationCanceledException>(() => reactor.Remote.Invoke(_ => ran = true, cancellation: cancel.Token));
        Task<bool> late = reactor.Remote.InvokeAsync(_ => ran = true, cancellation: cancel.Token);
        Assert.True(late.IsCanceled);
        Assert.Equal(1, reactor.RunOnce(TimeSpan.Zero));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => pending);
        Assert.False(ran);
    }

    [Fact]
    public void A_timeout_that_makes_no_sense_is_refused_before_anything_is_queued()
    {
        using Reactor reactor = NewReactor();
        Assert.Throws<ArgumentOutOfRangeException>("timeout", () => reactor.Remote.Invoke(_ => 1, TimeSpan.FromSeconds(-3), TestEnd));
        Assert.Throws<ArgumentOutOfRangeException>("timeout", () => { _ = reactor.Remote.InvokeAsync(_ => 1, TimeSpan.MaxValue, TestEnd); });
        Assert.Equal(0, reactor.RunOnce(TimeSpan.Zero));
    }

    [Fact]
    public void A_thread_may_invoke_before_another_thread_first_runs_the_reactor()
    {
        using Reactor reactor = NewReactor();
        int answer = 0;
        Thread caller = new(() => answer = reactor.Remote.Invoke(_ => 1, Patience));
        caller.Start();
        while (!reactor.Remote.HasCalls) Thread.Yield();
        using CancellationTokenSource stop = new();
        Thread runner = new(() => reactor.Run(stop.Token));
        runner.Start();
        Assert.True(caller.Join(Patience));
        stop.Cancel();
        Assert.True(runner.Join(Patience));
        Assert.Equal(1, answer);
    }

    [Fact]
    public async Task I6_every_way_to_call_a_stopped_reactor_fails()
    {
        using RunningReactor running = new(Options);
        Doorbell doorbell = running.Remote.CreateDoorbell(_ => { });
        running.Stop();
        Assert.Throws<ReactorStoppedException>(() => running.Remote.Post(_ => { }));
        Assert.Throws<ReactorStoppedException>(() => running.Remote.Invoke(_ => { }, Patience, TestEnd));
        Assert.Throws<ReactorStoppedException>(doorbell.Ring);
        Assert.False(doorbell.TryRing());
        Assert.Contains("reactor", (await Assert.ThrowsAsync<ReactorStoppedException>(() => running.Remote.InvokeAsync(_ => 1, Patience, TestEnd))).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task I6_calls_that_a_stop_catches_in_the_queue_fail()
    {
        RunningReactor running = new(Options);
        using ManualResetEventSlim goOn = new();
        running.Remote.Post(_ => goOn.Wait(Patience));
        Task<int>[] pending = [.. Enumerable.Range(0, 10).Select(_ => running.Remote.InvokeAsync(_ => 1, Patience, TestEnd))];
        Thread stopper = new(running.Stop);
        stopper.Start();
        while (!running.Reactor.StopRequested) Thread.Yield();
        goOn.Set();
        stopper.Join();
        foreach (Task<int> call in pending) await Assert.ThrowsAsync<ReactorStoppedException>(() => call);
        running.Dispose();
    }

    [Fact]
    public void A_call_that_is_waited_for_runs_behind_what_its_thread_posted_before()
    {
        using RunningReactor running = new(Options);
        int posted = 0;
        Func<IReactor, int> read = _ => posted;
        for (int i = 1; i <= 2_000; i++)
        {
            running.Remote.Post(_ => posted++);
            Assert.Equal(i, running.Remote.Invoke(read));
            Assert.Equal(i, running.Remote.Invoke(read));
        }
    }

    [Fact]
    public void A_thread_that_calls_two_reactors_gets_the_answers_of_each()
    {
        using RunningReactor one = new(Options), two = new(Options);
        Func<IReactor, IReactor> which = reactor => reactor;
        for (int i = 0; i < 500; i++)
        {
            // Three times, so that each of them comes to look at the call itself.
            for (int again = 0; again < 3; again++) Assert.Same(one.Reactor, one.Remote.Invoke(which));
            for (int again = 0; again < 3; again++) Assert.Same(two.Reactor, two.Remote.Invoke(which));
        }
    }

    [Fact]
    public void I6_a_stop_fails_the_call_that_the_reactor_looks_at()
    {
        using RunningReactor running = new(Options);
        using Busy busy = new(running);
        Assert.False(busy.CallMeanwhile(timeout: null));
        while (!running.Remote.HasCalls) Thread.Yield();
        Assert.True(running.Remote.Queue.IsUntouched);
        Thread stopper = new(running.Stop);
        stopper.Start();
        while (!running.Reactor.StopRequested) Thread.Yield();
        busy.GoOn();
        stopper.Join();
        Assert.IsType<ReactorStoppedException>(busy.Ended());
        Assert.False(busy.Ran);
    }

    [Fact]
    public void The_call_that_the_reactor_looks_at_never_starts_when_its_time_is_up_before()
    {
        using RunningReactor running = new(Options);
        using Busy busy = new(running);
        Assert.True(busy.CallMeanwhile(timeout: Short));
        Assert.IsType<TimeoutException>(busy.Ended());
        Assert.False(running.Remote.HasCalls);
        busy.GoOn();
        running.Remote.Invoke(_ => { }, Patience, TestEnd);
        Assert.False(busy.Ran);
    }

    [Fact]
    public void A_call_that_throws_when_it_is_abandoned_keeps_no_other_from_hearing_of_the_stop()
    {
        List<HandlerFailure> failures = [];
        Reactor reactor = NewReactor(options => options with { OnHandlerFailure = failures.Add });
        reactor.Remote.Post(new ThrowsWhenAbandoned());
        reactor.Remote.Post(_ => { });
        reactor.Dispose();
        Assert.Equal([typeof(InvalidDataException), typeof(ReactorStoppedException)], failures.Select(failure => failure.Exception.GetType()));
    }

    [Fact]
    public void Nothing_posted_by_eight_threads_is_lost_or_run_twice()
    {
        const int producers = 8;
        const int postsEach = 20_000;
        using RunningReactor running = new(Options);
        int[] runs = new int[producers * postsEach];
        int outOfOrder = 0;
        int[] lastOf = new int[producers];
        Array.Fill(lastOf, -1);
        Thread[] threads = [.. Enumerable.Range(0, producers).Select(producer => new Thread(() =>
        {
            for (int i = 0; i < postsEach; i++)
            {
                int number = i;
                running.Remote.Post(_ =>
                {
                    runs[producer * postsEach + number]++;
                    if (lastOf[producer] >= number) outOfOrder++;
                    lastOf[producer] = number;
                });
            }
        }))];
        foreach (Thread thread in threads) thread.Start();
        foreach (Thread thread in threads) Assert.True(thread.Join(Patience));
        running.Remote.Invoke(_ => { }, Patience, TestEnd);
        Assert.All(runs, count => Assert.Equal(1, count));
        Assert.Equal(0, outOfOrder);
    }

    [Fact]
    public void A_stop_amid_eight_posting_threads_leaves_each_call_run_or_failed()
    {
        const int producers = 8;
        for (int round = 0; round < 20; round++)
        {
            using RunningReactor running = new(Options);
            using ManualResetEventSlim go = new();
            int accepted = 0;
            Counted counted = new();
            Thread[] threads = [.. Enumerable.Range(0, producers).Select(_ => new Thread(() =>
            {
                go.Wait();
                while (running.Remote.TryPost(new CountedCall(counted))) Interlocked.Increment(ref accepted);
            }))];
            foreach (Thread thread in threads) thread.Start();
            go.Set();
            Assert.True(SpinWait.SpinUntil(() => Volatile.Read(ref counted.Runs) > 100, Patience));
            running.Stop();
            foreach (Thread thread in threads) Assert.True(thread.Join(Patience));
            Assert.Equal(accepted, counted.Runs + counted.Abandoned);
        }
    }

    [Fact]
    public void A_post_of_a_call_that_is_queued_runs_it_once_for_both()
    {
        using Reactor reactor = NewReactor();
        Counted counted = new();
        CountedCall call = new(counted);
        Assert.True(reactor.Remote.Post(call));
        Assert.False(reactor.Remote.Post(call));
        reactor.RunOnce(TimeSpan.Zero);
        Assert.Equal(1, counted.Runs);
        Assert.True(reactor.Remote.Post(call));
        reactor.RunOnce(TimeSpan.Zero);
        Assert.Equal(2, counted.Runs);
    }

    private sealed class Counted
    {
        internal int Runs;
        internal int Abandoned;
    }

    private sealed class CountedCall(Counted counted) : RemoteCall
    {
        protected internal override void Run(IReactor reactor) => counted.Runs++;

        protected internal override void Abandon(ReactorStoppedException reason) => Interlocked.Increment(ref counted.Abandoned);
    }

    private sealed class CallOfMany(Action run) : RemoteCall
    {
        protected internal override void Run(IReactor reactor) => run();
    }

    /// <summary>A reactor in the middle of a call, and a thread that had it answer often enough to look at the thread's call itself.</summary>
    private sealed class Busy : IDisposable
    {
        private readonly RunningReactor _running;
        private readonly ManualResetEventSlim _isBusy = new(), _goOn = new();
        private Thread? _caller;
        private Exception? _ended;

        internal Busy(RunningReactor running) => _running = running;

        internal bool Ran { get; private set; }

        /// <returns>Whether the call has ended, if it has a time limit.</returns>
        internal bool CallMeanwhile(TimeSpan? timeout)
        {
            _caller = new Thread(() =>
            {
                for (int i = 0; i < 3; i++) _running.Remote.Invoke(_ => { });
                _running.Remote.Post(_ =>
                {
                    _isBusy.Set();
                    _goOn.Wait(Patience);
                });
                _isBusy.Wait(Patience);
                _ended = Record.Exception(() => _running.Remote.Invoke(_ => { Ran = true; }, timeout));
            });
            _caller.Start();
            Assert.True(_isBusy.Wait(Patience));
            return timeout is not null && _caller.Join(Patience);
        }

        internal void GoOn() => _goOn.Set();

        internal Exception? Ended()
        {
            Assert.True(_caller!.Join(Patience));
            return _ended;
        }

        public void Dispose()
        {
            _goOn.Set();
            _caller?.Join(Patience);
            _running.Stop();
            _isBusy.Dispose();
            _goOn.Dispose();
        }
    }

    private sealed class ThrowsWhenAbandoned : RemoteCall
    {
        protected internal override void Run(IReactor reactor)
        {
        }

        protected internal override void Abandon(ReactorStoppedException reason) => throw new InvalidDataException();
    }
}

public sealed class RemoteEndpointOnEpollTests : RemoteEndpointTests;

public sealed class RemoteEndpointOnIoRingTests : RemoteEndpointTests
{
    protected override PollerKind Poller => PollerKind.IoRing;
}
