using System.Diagnostics;
using Vmm.Events.Tasks;

namespace Vmm.Events.Tests.Tasks;

public sealed class ReactorTaskTests
{
    [Fact]
    public void Reserved_cells_serve_so_many_tasks_and_no_cell_is_made_before_one_more_is_needed()
    {
        using Reactor reactor = new();
        ReactorTasks tasks = ReactorTasks.Of(reactor, reserve: 200);
        reactor.RunOnce(TimeSpan.Zero);
        Start(200);
        Assert.Equal((200L, 1L), (tasks.Statistics.SlabCells, tasks.Statistics.SlabGrowths));
        reactor.RunOnce(TimeSpan.Zero);
        reactor.RunOnce(TimeSpan.Zero);
        Assert.Equal(0, tasks.Statistics.Live);
        Start(201);
        Assert.Equal((400L, 2L), (tasks.Statistics.SlabCells, tasks.Statistics.SlabGrowths));

        void Start(int count)
        {
            for (int i = 0; i < count; i++) tasks.Spawn(Body).Detach();
        }

        static async ReactorTask Body() => await ReactorTask.Yield();
    }

    [Fact]
    public void The_reserve_of_tasks_is_that_of_the_first_who_asks()
    {
        using Reactor reactor = new();
        ReactorTasks tasks = ReactorTasks.Of(reactor, reserve: 3);
        Assert.Same(tasks, ReactorTasks.Of(reactor));
        Assert.Same(tasks, ReactorTasks.Of(reactor, reserve: 3));
        Assert.Throws<InvalidOperationException>(() => ReactorTasks.Of(reactor, reserve: 4));
        Assert.Throws<ArgumentOutOfRangeException>(() => ReactorTasks.Of(reactor, reserve: 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => ReactorTasks.Of(reactor, reserve: ReactorTasks.ReserveMax + 1));
    }

    [Fact]
    public void Each_task_has_a_number_of_its_own_which_it_knows_itself_and_its_failure_bears()
    {
        using TaskTable table = new();
        HashSet<long> seen = [];
        for (int i = 0; i < 40; i++)
        {
            long inside = -1;
            ReactorTask task = table.Tasks.Spawn(async () =>
            {
                await ReactorTask.Yield();
                inside = ReactorTasks.CurrentId;
                throw new InvalidDataException();
            });
            long id = task.Id;
            table.RunUntil(() => task.IsCompleted);
            Assert.Equal(id, inside);
            Assert.True(seen.Add(id));
            task.Detach();
            Assert.EndsWith($" #{id}", table.Failures[^1].Source, StringComparison.Ordinal);
            Assert.Throws<InvalidOperationException>(() => task.Id);
        }
        Assert.Equal(0, ReactorTasks.CurrentId);
        ReactorTask<int> atOnce = table.Tasks.Spawn(AtOnce);
        Assert.Equal(0, atOnce.Id);

        static async ReactorTask<int> AtOnce()
        {
            await Task.CompletedTask;
            return 7;
        }
    }

    [Fact]
    public void A_task_runs_at_once_up_to_its_first_await_and_then_on_the_reactors_thread()
    {
        using TaskTable table = new();
        List<string> steps = [];
        ReactorTask task = table.Tasks.Spawn(async () =>
        {
            steps.Add("start");
            await ReactorTask.Yield();
            steps.Add("end");
        });
        steps.Add("spawned");
        Assert.False(task.IsCompleted);
        table.Turn();
        Assert.True(task.IsCompleted);
        task.GetAwaiter().GetResult();
        Assert.Equal(["start", "spawned", "end"], steps);
    }

    [Fact]
    public void Results_come_up_through_nested_tasks()
    {
        using TaskTable table = new();
        Assert.Equal(5050, table.Run(() => Sum(100)));

        static async ReactorTask<int> Sum(int n)
        {
            if (n == 0) return 0;
            if (n % 2 == 0) await ReactorTask.Yield();
            return n + await Sum(n - 1);
        }
    }

    [Fact]
    public void A_deep_chain_of_tasks_unwinds_without_deepening_the_stack()
    {
        using TaskTable table = new();
        ReactorTask<int> chain = table.Tasks.Spawn(async () =>
        {
            await ReactorTask.Yield();
            return 0;
        });
        for (int i = 0; i < 100_000; i++)
        {
            ReactorTask<int> inner = chain;
            chain = table.Tasks.Spawn(async () => await inner + 1);
        }
        table.RunUntil(() => chain.IsCompleted);
        Assert.Equal(100_000, chain.GetAwaiter().GetResult());
    }

    [Fact]
    public void What_a_task_throws_reaches_its_joiner()
    {
        using TaskTable table = new();
        Assert.Equal("late", Assert.Throws<InvalidDataException>(() => table.Run(async () =>
        {
            await ReactorTask.Yield();
            await Fail("late", yields: true);
        })).Message);
        Assert.Equal("at once", Assert.Throws<InvalidDataException>(() => table.Run(() => Fail("at once", yields: false))).Message);
        Assert.Empty(table.Failures);
    }

    [Fact]
    public void What_a_task_throws_reaches_the_reactors_policy_if_nobody_joins()
    {
        TaskTable table = new();
        table.Tasks.Spawn(() => Fail("detached", yields: true)).Detach();
        table.Turn();
        Assert.Equal(["detached"], table.Failures.Select(failure => failure.Exception.Message));
        Assert.StartsWith("task Fail #", table.Failures[0].Source, StringComparison.Ordinal);

        ReactorTask later = table.Tasks.Spawn(() => Fail("detached when it had failed", yields: false));
        Assert.Single(table.Failures);
        later.Detach();
        Assert.Equal(2, table.Failures.Count);

        _ = table.Tasks.Spawn(() => Fail("forgotten", yields: true));
        table.Turn();
        Assert.Equal(2, table.Failures.Count);
        table.Dispose();
        Assert.Equal("forgotten", table.Failures[2].Exception.Message);
        Assert.Equal(3, table.Failures.Count);
    }

    [Fact]
    public void A_handle_is_used_up_by_its_join()
    {
        using TaskTable table = new();
        ReactorTask<int> task = table.Tasks.Spawn(async () =>
        {
            await ReactorTask.Yield();
            return 1;
        });
        Assert.Throws<InvalidOperationException>(() => task.GetAwaiter().GetResult());
        table.Turn();
        Assert.Equal(1, task.GetAwaiter().GetResult());
        Assert.Throws<InvalidOperationException>(() => task.GetAwaiter().GetResult());
        Assert.Throws<InvalidOperationException>(() => task.IsCompleted);
        Assert.Throws<InvalidOperationException>(task.Abort);
        Assert.Throws<InvalidOperationException>(task.Detach);
        ReactorTask detached = table.Tasks.Spawn(async () => await ReactorTask.Yield());
        detached.Detach();
        Assert.Throws<InvalidOperationException>(detached.Detach);
        Assert.Throws<InvalidOperationException>(() => detached.IsCompleted);
    }

    [Fact]
    public void Two_joiners_of_one_task_are_one_too_many()
    {
        using TaskTable table = new();
        ReactorTask inner = table.Tasks.Spawn(async () => await ReactorTask.Yield());
        ReactorTask first = table.Tasks.Spawn(async () => await inner);
        ReactorTask second = table.Tasks.Spawn(async () => await inner);
        table.RunUntil(() => first.IsCompleted && second.IsCompleted);
        first.GetAwaiter().GetResult();
        Assert.Throws<InvalidOperationException>(() => second.GetAwaiter().GetResult());
    }

    [Fact]
    public void Delays_end_in_the_order_of_their_time()
    {
        using TaskTable table = new();
        List<(TimeSpan Earliest, TimeSpan Latest)> ended = [];
        Stopwatch watch = Stopwatch.StartNew();
        // From 1 ms on: a delay of nothing is a yield, which waits for no timer.
        int[] delays = [.. Enumerable.Range(1, 50)];
        new Random(7).Shuffle(delays);
        foreach (int delay in delays)
        {
            TimeSpan time = TimeSpan.FromMilliseconds(delay);
            TimeSpan begun = watch.Elapsed;
            TimeSpan latest = TimeSpan.MaxValue;
            table.Tasks.Spawn(async () =>
            {
                await ReactorTask.Delay(time);
                Assert.True(watch.Elapsed >= begun + time);
                ended.Add((begun + time, latest));
            }).Detach();
            latest = watch.Elapsed + time;
        }
        table.RunUntil(() => ended.Count == delays.Length);
        // This thread may have been held up between two spawns: what counts is when each could have been due.
        foreach ((var earlier, var later) in ended.Zip(ended.Skip(1))) Assert.True(earlier.Earliest <= later.Latest);
        Assert.Empty(table.Failures);
    }

    [Fact]
    public void A_timeout_aborts_what_takes_too_long_and_only_that()
    {
        using TaskTable table = new();
        bool cleanedUp = false;
        Assert.Throws<TimeoutException>(() => table.Run(() => Slow().WithTimeout(TimeSpan.FromMilliseconds(5))));
        Assert.True(cleanedUp);
        Assert.Equal(3, table.Run(() => Quick().WithTimeout(TimeSpan.FromSeconds(20))));
        Assert.Equal(0, table.Tasks.Statistics.Live);

        async ReactorTask Slow()
        {
            try
            {
                await ReactorTask.Delay(TimeSpan.FromHours(1));
            }
            finally
            {
                cleanedUp = true;
            }
        }

        static async ReactorTask<int> Quick()
        {
            await ReactorTask.Delay(TimeSpan.FromMilliseconds(1));
            return 3;
        }
    }

    [Fact]
    public void An_ordinary_task_comes_home_to_the_reactors_thread()
    {
        using TaskTable table = new();
        int home = Environment.CurrentManagedThreadId;
        (int bare, int wrapped, int value) = table.Run(async () =>
        {
            await Task.Run(() => Thread.Sleep(1));
            int bare = Environment.CurrentManagedThreadId;
            int value = await Task.Run(() => 42).ComeHome();
            return (bare, Environment.CurrentManagedThreadId, value);
        });
        Assert.Equal((home, home, 42), (bare, wrapped, value));
        Assert.Throws<FormatException>(() => table.Run(async () => await Task.Run(() => throw new FormatException())));
        Assert.Throws<FormatException>(() => table.Run(async () => await Task.Run(() => throw new FormatException()).ComeHome()));
        // Whatever the thread has as its context: a task comes home by the reactor.
        SynchronizationContext? before = SynchronizationContext.Current;
        SynchronizationContext.SetSynchronizationContext(new DeafContext());
        try
        {
            Assert.Equal(43, table.Run(async () => await Task.Run(() => 43).ComeHome()));
        }
        finally
        {
            SynchronizationContext.SetSynchronizationContext(before);
        }
    }

    [Fact]
    public async Task Another_thread_can_wait_for_a_task()
    {
        TaskTable table = new();
        Task<int> good = table.Tasks.Spawn(async () =>
        {
            await ReactorTask.Yield();
            return 5;
        }).AsTask();
        Task bad = table.Tasks.Spawn(() => Fail("no", yields: true)).AsTask();
        ReactorTask slow = table.Tasks.Spawn(async () => await ReactorTask.Delay(TimeSpan.FromHours(1)));
        Task aborted = slow.AsTask();
        slow.Abort();
        table.RunUntil(() => good.IsCompleted && bad.IsCompleted && aborted.IsCompleted);
        table.Dispose();
        Assert.Equal(5, await good);
        await Assert.ThrowsAsync<InvalidDataException>(() => bad);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => aborted);
    }

    [Fact]
    public void An_eventfd_and_a_doorbell_wake_the_task_that_waits_for_them()
    {
        using TaskTable table = new();
        EventFd fd = new();
        using TaskEventFd kick = new(table.Tasks, fd);
        TaskDoorbell bell = new(table.Tasks);
        List<string> heard = [];
        table.Tasks.Spawn(async () =>
        {
            for (int i = 0; i < 2; i++)
            {
                await kick;
                heard.Add("kick");
                await bell;
                heard.Add("bell");
            }
        }).Detach();
        bell.Ring();
        bell.Ring();
        table.Turn();
        Assert.Empty(heard);
        fd.Signal();
        table.RunUntil(() => heard.Count == 2);
        fd.Signal(3);
        table.RunUntil(() => heard.Count == 3);
        TaskTable.OnAnotherThread(() => bell.Ring());
        table.RunUntil(() => heard.Count == 4);
        Assert.Equal(["kick", "bell", "kick", "bell"], heard);
    }

    [Fact]
    public void Outside_of_a_reactor_nothing_starts_and_says_why()
    {
        Assert.Contains(nameof(ReactorTasks), Assert.Throws<InvalidOperationException>(() => { _ = Lost(); }).Message, StringComparison.Ordinal);

        static async ReactorTask Lost() => await ReactorTask.Yield();
    }

    [Fact]
    public void Spawning_running_and_joining_allocate_nothing_once_warm()
    {
        using TaskTable table = new();
        SteadyState.AllocatesNothing(() => Rounds(table, 1000));
        Assert.Equal(2, table.Tasks.Statistics.SlabGrowths);

        static void Rounds(TaskTable table, int count)
        {
            for (int i = 0; i < count; i++)
            {
                ReactorTask<int> task = table.Tasks.Spawn(static n => Twice(n), i);
                while (!task.IsCompleted) table.Turn();
                if (task.GetAwaiter().GetResult() != 2 * i) throw new InvalidDataException();
            }
        }

        static async ReactorTask<int> Twice(int n)
        {
            await ReactorTask.Yield();
            return n + await Once(n);
        }

        static async ReactorTask<int> Once(int n)
        {
            await ReactorTask.Delay(TimeSpan.Zero);
            return n;
        }
    }

    [Fact]
    public void Growth_of_the_slab_is_counted()
    {
        using TaskTable table = new();
        ReactorTaskStatistics before = table.Tasks.Statistics;
        for (int i = 0; i < 100; i++) table.Tasks.Spawn(Waiting).Detach();
        ReactorTaskStatistics after = table.Tasks.Statistics;
        Assert.Equal(100, after.Live - before.Live);
        Assert.True(after.SlabCells - before.SlabCells >= 100);
        Assert.True(after.SlabGrowths > before.SlabGrowths);

        static async ReactorTask Waiting() => await ReactorTask.Yield();
    }

    [Fact]
    public void Disposing_the_reactor_ends_every_task_with_its_clean_up()
    {
        TaskTable table = new();
        int cleanedUp = 0;
        TaskSignal never = new();
        for (int i = 0; i < 1000; i++)
        {
            int kind = i % 4;
            table.Tasks.Spawn(async () =>
            {
                try
                {
                    if (kind == 0) await ReactorTask.Delay(TimeSpan.FromHours(1));
                    if (kind == 1) await ReactorTask.Park();
                    if (kind == 2) await ReactorTask.Yield();
                    if (kind == 3) await Nested();
                }
                finally
                {
                    await ReactorTask.Yield();
                    cleanedUp++;
                }
            }).Detach();
        }
        table.Dispose();
        Assert.Equal(1000, cleanedUp);
        Assert.Equal(0, table.Tasks.Statistics.Live);
        Assert.Empty(table.Failures);
        Assert.Throws<ObjectDisposedException>(() => table.Tasks.Spawn(Nested));

        static async ReactorTask Nested() => await ReactorTask.Delay(TimeSpan.FromHours(1));
    }

    private static async ReactorTask Fail(string message, bool yields)
    {
        if (yields) await ReactorTask.Yield();
        throw new InvalidDataException(message);
    }

    /// <summary>Runs nothing that it is given.</summary>
    private sealed class DeafContext : SynchronizationContext
    {
        public override void Post(SendOrPostCallback d, object? state)
        {
        }

        public override void Send(SendOrPostCallback d, object? state)
        {
        }
    }
}
