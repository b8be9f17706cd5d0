using Vmm.Events.Tasks;

namespace Vmm.Events.Tests.Tasks;

public sealed class WakerTests
{
    [Fact]
    public void Waking_twice_queues_once_and_a_wake_before_the_park_is_kept()
    {
        using TaskTable table = new();
        Waker waker = default;
        int wakes = 0;
        table.Tasks.Spawn(async () =>
        {
            waker = await ReactorTask.GetWaker();
            while (true)
            {
                await ReactorTask.Park();
                wakes++;
            }
        }).Detach();
        table.Turn();
        waker.Wake();
        waker.Wake();
        waker.Wake();
        table.Turn();
        table.Turn();
        Assert.Equal(1, wakes);
        TaskTable.OnAnotherThread(() =>
        {
            for (int i = 0; i < 100; i++) waker.Wake();
        });
        table.Turn();
        table.Turn();
        Assert.Equal(2, wakes);
        waker.Dispose();
    }

    [Fact]
    public void A_wake_after_completion_is_harmless_and_storage_outlives_its_last_waker()
    {
        using TaskTable table = new();
        Waker waker = default;
        int ends = 0;
        ReactorTask first = table.Tasks.Spawn(Body);
        table.RunUntil(() => first.IsCompleted);
        first.GetAwaiter().GetResult();
        Waker kept = waker;
        long cells = table.Tasks.Statistics.SlabCells;
        // Every other cell of that method is taken, and the one whose waker is kept is not among them.
        List<ReactorTask> others = [];
        for (int i = 0; i < cells; i++) others.Add(table.Tasks.Spawn(Body));
        Assert.True(table.Tasks.Statistics.SlabCells > cells, "the cell was reused under its waker");
        for (int i = 0; i < 10; i++) kept.Wake();
        TaskTable.OnAnotherThread(() => kept.Wake());
        table.RunUntil(() => others.All(task => task.IsCompleted));
        foreach (ReactorTask other in others) other.Detach();
        Assert.Equal(1 + cells, ends);
        kept.Dispose();
        Assert.Throws<InvalidOperationException>(kept.Dispose);

        async ReactorTask Body()
        {
            Waker mine = await ReactorTask.GetWaker();
            if (waker == default) waker = mine; else mine.Dispose();
            ends++;
        }
    }

    [Fact]
    public void A_copy_of_a_disposed_waker_touches_no_later_task_in_the_same_storage()
    {
        using TaskTable table = new();
        Waker waker = default;
        List<TaskCell> cells = [];
        int wakes = 0;
        ReactorTask first = table.Tasks.Spawn(Body);
        table.Turn();
        Waker copy = waker;
        waker.Wake();
        table.RunUntil(() => first.IsCompleted);
        first.GetAwaiter().GetResult();
        waker.Dispose();
        ReactorTask task = table.Tasks.Spawn(Body);
        table.Turn();
        Assert.Same(cells[0], cells[1]);
        Assert.Throws<InvalidOperationException>(copy.Dispose);
        Assert.Throws<InvalidOperationException>(() => copy.Wake());
        Assert.Throws<InvalidOperationException>(() => copy.Clone());
        TaskTable.OnAnotherThread(() => Assert.Throws<InvalidOperationException>(() => copy.Wake()));
        table.Turn();
        Assert.Equal(1, wakes);
        waker.Wake();
        table.RunUntil(() => task.IsCompleted);
        Assert.Equal(2, wakes);
        waker.Dispose();
        task.Detach();

        async ReactorTask Body()
        {
            waker = await ReactorTask.GetWaker();
            cells.Add(ReactorTasks.Running);
            await ReactorTask.Park();
            wakes++;
        }
    }

    [Fact]
    public void A_wake_that_a_task_gives_itself_before_it_parks_ends_the_park()
    {
        using TaskTable table = new();
        int parks = 0;
        ReactorTask task = table.Tasks.Spawn(async () =>
        {
            using Waker mine = await ReactorTask.GetWaker();
            mine.Wake();
            mine.Wake();
            await ReactorTask.Park();
            parks++;
            // The two wakes were one: this park waits.
            await ReactorTask.Park();
            parks++;
        });
        for (int turn = 0; turn < 5; turn++) table.Turn();
        Assert.Equal(1, parks);
        task.Abort();
        table.Turn();
        Assert.Throws<TaskAbortedException>(() => task.GetAwaiter().GetResult());
    }

    [Fact]
    public void A_wake_of_another_thread_before_the_park_ends_the_park()
    {
        using TaskTable table = new();
        Waker waker = default;
        bool goOn = false;
        ReactorTask task = table.Tasks.Spawn(async () =>
        {
            waker = await ReactorTask.GetWaker();
            while (!goOn) await ReactorTask.Delay(TimeSpan.FromMilliseconds(1));
            await ReactorTask.Park();
        });
        table.RunUntil(() => waker != default);
        TaskTable.OnAnotherThread(() => waker.Wake());
        // It is known on the reactor's thread before the task parks.
        table.Turn();
        goOn = true;
        table.RunUntil(() => task.IsCompleted);
        task.Detach();
        waker.Dispose();
    }

    [Fact]
    public void A_waker_that_is_disposed_by_another_thread_gives_the_storage_back()
    {
        using TaskTable table = new();
        for (int round = 0; round < 200; round++)
        {
            Waker waker = default;
            ReactorTask task = table.Tasks.Spawn(async () => { waker = await ReactorTask.GetWaker(); });
            table.RunUntil(() => task.IsCompleted);
            Thread disposing = new(waker.Dispose);
            disposing.Start();
            task.Detach();
            disposing.Join();
            table.Turn();
        }
        Assert.True(table.Tasks.Statistics.SlabCells <= 32, $"{table.Tasks.Statistics.SlabCells} cells for one task at a time");
    }

    [Fact]
    public void A_task_has_65_535_wakers_and_not_one_more()
    {
        using TaskTable table = new();
        Waker waker = default;
        int wakes = 0;
        ReactorTask task = table.Tasks.Spawn(async () =>
        {
            waker = await ReactorTask.GetWaker();
            await ReactorTask.Park();
            wakes++;
        });
        table.Turn();
        List<Waker> clones = [];
        for (int i = 1; i < TaskCell.WakersMax; i++) clones.Add(waker.Clone());
        Assert.Throws<InvalidOperationException>(() => waker.Clone());
        Assert.Throws<InvalidOperationException>(() => waker.Clone());
        clones[17].Wake();
        clones[^1].Wake();
        table.RunUntil(() => task.IsCompleted);
        Assert.Equal(1, wakes);
        foreach (Waker clone in clones) clone.Dispose();
        Waker again = waker.Clone();
        again.Dispose();
        waker.Dispose();
        task.GetAwaiter().GetResult();
    }

    [Fact]
    public void A_cell_whose_generations_are_used_up_is_not_reused()
    {
        using TaskTable table = new();
        List<TaskCell> seen = [];
        for (int i = 0; i < 40; i++)
        {
            Waker waker = default;
            ReactorTask task = table.Tasks.Spawn(async () =>
            {
                waker = await ReactorTask.GetWaker();
                TaskCell cell = ReactorTasks.Running;
                Assert.DoesNotContain(cell, seen);
                seen.Add(cell);
                await ReactorTask.Yield();
            });
            table.Turn();
            waker.Dispose();
            task.Detach();
            table.Turn();
            table.Turn();
            seen.RemoveAll(cell => cell.Generation != uint.MaxValue);
            // The next life of whatever comes next is its last.
            table.Tasks.Spawn(async () =>
            {
                await ReactorTask.Yield();
                ReactorTasks.Running.Age(uint.MaxValue - 1);
            }).Detach();
            table.Turn();
        }
        Assert.Equal(0, table.Tasks.Statistics.Live);
    }

    [Fact]
    public async Task No_wake_of_another_thread_is_lost()
    {
        using CancellationTokenSource stop = new(TimeSpan.FromSeconds(30));
        const long Count = 100_000;
        TaskTable table = new();
        long said = 0;
        long heard = 0;
        Waker waker = default;
        table.Tasks.Spawn(async () =>
        {
            waker = await ReactorTask.GetWaker();
            while (heard < Count)
            {
                await ReactorTask.Park();
                heard = Volatile.Read(ref said);
            }
            stop.Cancel();
        }).Detach();
        table.Turn();
        Task waking = Task.Run(() =>
        {
            for (long i = 1; i <= Count; i++)
            {
                Volatile.Write(ref said, i);
                waker.Wake();
                if (i % 1000 == 0) Thread.Yield();
            }
        });
        table.Reactor.Run(stop.Token);
        await waking;
        Assert.Equal(Count, heard);
    }

    [Fact]
    public void A_wake_of_a_stopped_reactor_is_a_value()
    {
        TaskTable table = new();
        Waker waker = default;
        ReactorTask task = table.Tasks.Spawn(async () =>
        {
            waker = await ReactorTask.GetWaker();
            await ReactorTask.Park();
        });
        table.Turn();
        table.Dispose();
        bool isHeard = true;
        TaskTable.OnAnotherThread(() => isHeard = waker.Wake());
        Assert.False(isHeard);
        waker.Dispose();
        Assert.Throws<TaskAbortedException>(() => task.GetAwaiter().GetResult());
    }
}
