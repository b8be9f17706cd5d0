using Vmm.Events.Tasks;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests.Tasks;

public sealed class AbortTests
{
    public enum AwaitPoint
    {
        Yield,
        Delay,
        Park,
        Signal,
        Doorbell,
        EventFd,
        OrdinaryTask,
        NestedDelay,
        DeepPark,
    }

    public static TheoryData<AwaitPoint> AwaitPoints => [.. Enum.GetValues<AwaitPoint>()];

    /// <summary>The task that waits for it is aborted, which says all there is to say.</summary>
    [Fact]
    public void A_ring_that_the_reactor_has_not_come_to_when_it_stops_is_no_failure()
    {
        List<HandlerFailure> failures = [];
        using CancellationTokenSource stop = new();
        using Reactor reactor = new(new ReactorOptions { OnHandlerFailure = failures.Add });
        TaskDoorbell bell = new(ReactorTasks.Of(reactor));
        reactor.Remote.Post(_ =>
        {
            stop.Cancel();
            Assert.True(bell.Ring());
        });
        reactor.Run(stop.Token);
        Assert.Empty(failures);
        Assert.False(bell.Ring());
    }

    [Theory, MemberData(nameof(AwaitPoints))]
    public void A_task_is_aborted_at_each_of_its_await_points(AwaitPoint point)
    {
        using TaskTable table = new();
        using TaskEventFd eventFd = new(table.Tasks, new EventFd());
        TaskDoorbell bell = new(table.Tasks);
        TaskSignal signal = new();
        TaskCompletionSource never = new();
        List<string> steps = [];
        ReactorTask task = table.Tasks.Spawn(Body);
        if (point != AwaitPoint.Yield) table.Turn();
        Assert.Empty(steps);
        task.Abort();
        task.Abort();
        table.Turn();
        table.Turn();
        Assert.Equal(["aborted", "finally"], steps);
        Assert.Throws<TaskAbortedException>(() => task.GetAwaiter().GetResult());
        Assert.Equal(0, table.Tasks.Statistics.Live);

        // What would have ended the wait comes late and finds nobody.
        signal.Set();
        bell.Ring();
        eventFd.Fd.Signal();
        never.SetResult();
        table.Turn();
        table.Turn();
        Assert.Equal(2, steps.Count);
        Assert.Empty(table.Failures);

        async ReactorTask Body()
        {
            try
            {
                await Wait(point);
                steps.Add("went on");
            }
            catch (TaskAbortedException)
            {
                steps.Add("aborted");
                throw;
            }
            finally
            {
                // A clean-up may wait: the abort came once.
                await ReactorTask.Yield();
                steps.Add("finally");
            }
        }

        async ReactorTask Wait(AwaitPoint at)
        {
            switch (at)
            {
                case AwaitPoint.Yield: await ReactorTask.Yield(); break;
                case AwaitPoint.Delay: await ReactorTask.Delay(TimeSpan.FromHours(1)); break;
                case AwaitPoint.Park: await ReactorTask.Park(); break;
                case AwaitPoint.Signal: await signal; break;
                case AwaitPoint.Doorbell: await bell; break;
                case AwaitPoint.EventFd: await eventFd; break;
                case AwaitPoint.OrdinaryTask: await never.Task.ComeHome(); break;
                case AwaitPoint.NestedDelay: await Wait(AwaitPoint.Delay); break;
                default: await Deep(50); break;
            }
        }

        static async ReactorTask Deep(int depth)
        {
            if (depth == 0) await ReactorTask.Park(); else await Deep(depth - 1);
        }
    }

    [Fact]
    public void An_abort_that_loses_against_a_result_comes_at_the_next_await()
    {
        using TaskTable table = new();
        TaskSignal signal = new();
        List<string> steps = [];
        ReactorTask task = table.Tasks.Spawn(async () =>
        {
            await signal;
            steps.Add("got it");
            await ReactorTask.Delay(TimeSpan.FromHours(1));
            steps.Add("went on");
        });
        signal.Set();
        task.Abort();
        table.Turn();
        table.Turn();
        Assert.True(task.IsCompleted);
        Assert.Throws<TaskAbortedException>(() => task.GetAwaiter().GetResult());
        Assert.Equal(["got it"], steps);
    }

    [Fact]
    public void An_abort_while_an_ordinary_task_is_awaited_bare_comes_at_the_next_await()
    {
        using TaskTable table = new();
        TaskCompletionSource source = new();
        bool home = false;
        ReactorTask task = table.Tasks.Spawn(async () =>
        {
            await source.Task;
            home = true;
            await ReactorTask.Park();
        });
        task.Abort();
        table.Turn();
        Assert.False(task.IsCompleted);
        source.SetResult();
        table.RunUntil(() => task.IsCompleted);
        Assert.True(home);
        Assert.Throws<TaskAbortedException>(() => task.GetAwaiter().GetResult());
    }

    [Fact]
    public void An_abort_for_a_child_that_ended_just_then_reaches_its_parent()
    {
        using TaskTable table = new();
        TaskSignal signal = new();
        bool childEnded = false;
        ReactorTask task = table.Tasks.Spawn(async () =>
        {
            await Child();
            childEnded = true;
            await ReactorTask.Park();
        });
        signal.Set();
        task.Abort();
        table.RunUntil(() => task.IsCompleted);
        Assert.True(childEnded);
        Assert.Throws<TaskAbortedException>(() => task.GetAwaiter().GetResult());

        async ReactorTask Child() => await signal;
    }

    [Fact]
    public void A_task_that_catches_its_abort_goes_on()
    {
        using TaskTable table = new();
        ReactorTask<string> task = table.Tasks.Spawn(async () =>
        {
            try
            {
                await ReactorTask.Park();
                return "woken";
            }
            catch (TaskAbortedException)
            {
                await ReactorTask.Delay(TimeSpan.FromMilliseconds(1));
                return "refused";
            }
        });
        table.Turn();
        task.Abort();
        table.RunUntil(() => task.IsCompleted);
        Assert.Equal("refused", task.GetAwaiter().GetResult());
    }

    [Fact]
    public void Aborting_what_has_ended_or_is_detached_elsewhere_is_harmless()
    {
        using TaskTable table = new();
        ReactorTask task = table.Tasks.Spawn(async () => await ReactorTask.Yield());
        table.Turn();
        task.Abort();
        task.GetAwaiter().GetResult();
        default(ReactorTask).Abort();
        default(ReactorTask).Detach();
        Assert.Empty(table.Failures);
    }

    [Fact]
    public void Random_trees_of_tasks_under_random_aborts_end_each_exactly_once()
    {
        Random random = new(TestSeed.Take());
        using TaskTable table = new();
        int started = 0;
        int ended = 0;
        List<Waker> wakers = [];
        for (int round = 0; round < 300; round++)
        {
            List<ReactorTask> roots = [];
            for (int i = 0; i < 5; i++) roots.Add(table.Tasks.Spawn(() => Node(random.Next(4))));
            for (int step = 0; step < 6; step++)
            {
                int pick = random.Next(roots.Count);
                if (random.Next(3) == 0) roots[pick].Abort();
                if (wakers.Count > 0 && random.Next(2) == 0) wakers[random.Next(wakers.Count)].Wake();
                if (random.Next(2) == 0) table.Turn();
            }
            foreach (ReactorTask root in roots) root.Abort();
            foreach (ReactorTask root in roots)
            {
                ReactorTask waited = root;
                table.RunUntil(() =>
                {
                    waited.Abort();
                    return waited.IsCompleted;
                });
                root.Detach();
            }
            foreach (Waker waker in wakers) waker.Dispose();
            wakers.Clear();
        }
        Assert.Equal(started, ended);
        Assert.Equal(0, table.Tasks.Statistics.Live);
        Assert.Empty(table.Failures);

        async ReactorTask Node(int depth)
        {
            started++;
            try
            {
                Waker waker = await ReactorTask.GetWaker();
                wakers.Add(waker);
                for (int i = random.Next(4); i > 0; i--)
                {
                    switch (random.Next(4))
                    {
                        case 0: await ReactorTask.Yield(); break;
                        case 1: await ReactorTask.Park(); break;
                        case 2: await ReactorTask.Delay(TimeSpan.FromMicroseconds(random.Next(300))); break;
                        default: if (depth > 0) await Node(depth - 1); break;
                    }
                }
            }
            finally
            {
                ended++;
            }
        }
    }
}
