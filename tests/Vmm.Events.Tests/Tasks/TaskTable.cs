using System.Diagnostics;
using Vmm.Events.Tasks;

namespace Vmm.Events.Tests.Tasks;

/// <summary>A reactor with tasks, for one test.</summary>
internal sealed class TaskTable : IDisposable
{
    private static readonly TimeSpan Watchdog = TimeSpan.FromSeconds(30);

    internal TaskTable()
    {
        Reactor = new Reactor(new ReactorOptions { OnHandlerFailure = Failures.Add });
        Tasks = ReactorTasks.Of(Reactor);
        // From here on this thread is the one that runs it.
        Turn();
    }

    internal Reactor Reactor { get; }

    internal ReactorTasks Tasks { get; }

    internal List<HandlerFailure> Failures { get; } = [];

    internal void Turn() => Reactor.RunOnce(TimeSpan.Zero);

    internal void RunUntil(Func<bool> isDone)
    {
        Stopwatch watch = Stopwatch.StartNew();
        while (!isDone())
        {
            Assert.True(watch.Elapsed < Watchdog, "the tasks do not end");
            Reactor.RunOnce(TimeSpan.FromMilliseconds(100));
        }
    }

    /// <summary>Runs a task to its end and gives its result.</summary>
    internal T Run<T>(Func<ReactorTask<T>> body)
    {
        ReactorTask<T> task = Tasks.Spawn(body);
        RunUntil(() => task.IsCompleted);
        return task.GetAwaiter().GetResult();
    }

    internal void Run(Func<ReactorTask> body)
    {
        ReactorTask task = Tasks.Spawn(body);
        RunUntil(() => task.IsCompleted);
        task.GetAwaiter().GetResult();
    }

    /// <summary>Not a task of the pool: who waits for one may run it himself.</summary>
    internal static void OnAnotherThread(Action action)
    {
        Thread thread = new(() => action());
        thread.Start();
        thread.Join();
    }

    public void Dispose() => Reactor.Dispose();
}
