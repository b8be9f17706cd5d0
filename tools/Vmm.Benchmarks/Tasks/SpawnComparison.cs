using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using Vmm.Events;
using Vmm.Events.Tasks;

namespace Vmm.Benchmarks;

/// <summary>A task is started, goes through the queue of its single thread once, and ends.</summary>
internal static class Spawn
{
    internal static Comparison Comparison { get; } = new("tasks", "tasks-spawn",
        "batches of n async methods are started, yield once, and end, all on one thread; one operation is one method",
        [1, 64],
        [
            new("task-run", n => new TaskRun(n)),
            new("pooled-value-task", n => new PooledValueTasks(n)),
            new("vmm-spawn", n => new Spawned(n)),
        ]);

    /// <summary>Between two looks at the clock, at least.</summary>
    private const int Batches = 100;

    /// <summary>Task.Run of an async method, as it is on a scheduler of one thread: ours, which does nothing but queue.</summary>
    private sealed class TaskRun(int batch) : TaskScheduler, IContender
    {
        private static readonly Func<object?, Task> Start = static self => ((TaskRun)self!).YieldOnceAsync();
        private readonly Queue<Task> _queue = new();
        private readonly Task[] _tasks = new Task[batch];
        private long _ended;

        public int Quantum => batch * Batches;

        public void Run(long operations)
        {
            _ended = 0;
            for (long begun = 0; begun < operations; begun += batch)
            {
                for (int i = 0; i < batch; i++)
                    _tasks[i] =
                        Task.Factory.StartNew(Start, this, CancellationToken.None, TaskCreationOptions.DenyChildAttach, this).Unwrap();
                while (_queue.TryDequeue(out Task? task)) TryExecuteTask(task);
                for (int i = 0; i < batch; i++) _tasks[i].GetAwaiter().GetResult();
            }
            if (_ended != operations) throw new InvalidOperationException($"{_ended} of {operations} tasks ended");
        }

        public void Dispose()
        {
        }

        protected override void QueueTask(Task task) => _queue.Enqueue(task);

        protected override bool TryExecuteTaskInline(Task task, bool taskWasPreviouslyQueued) => false;

        protected override IEnumerable<Task> GetScheduledTasks() => _queue;

        private async Task YieldOnceAsync()
        {
            await Task.Yield();
            _ended++;
        }
    }

    /// <summary>An async ValueTask method with the pooling builder of the runtime, over a queue of continuations.</summary>
    private sealed class PooledValueTasks(int batch) : IContender
    {
        private readonly Queue<Action> _queue = new();
        private readonly ValueTask[] _tasks = new ValueTask[batch];
        private long _ended;

        public int Quantum => batch * Batches;

        public void Run(long operations)
        {
            _ended = 0;
            for (long begun = 0; begun < operations; begun += batch)
            {
#pragma warning disable CA2012 // Each is consumed once, below, when all have been started.
                for (int i = 0; i < batch; i++) _tasks[i] = YieldOnce();
#pragma warning restore CA2012
                while (_queue.TryDequeue(out Action? continuation)) continuation();
                for (int i = 0; i < batch; i++) _tasks[i].GetAwaiter().GetResult();
            }
            if (_ended != operations) throw new InvalidOperationException($"{_ended} of {operations} methods ended");
        }

        public void Dispose()
        {
        }

        [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
        private async ValueTask YieldOnce()
        {
            await new ToQueue(_queue);
            _ended++;
        }

        private readonly struct ToQueue(Queue<Action> queue) : ICriticalNotifyCompletion
        {
            public bool IsCompleted => false;

            public ToQueue GetAwaiter() => this;

            public void GetResult()
            {
            }

            public void OnCompleted(Action continuation) => queue.Enqueue(continuation);

            public void UnsafeOnCompleted(Action continuation) => queue.Enqueue(continuation);
        }
    }

    private sealed class Spawned : IContender
    {
        private readonly Reactor _reactor = new();
        private readonly ReactorTasks _tasks;
        private readonly ReactorTask[] _batch;
        private long _ended;

        internal Spawned(int batch)
        {
            _batch = new ReactorTask[batch];
            _tasks = ReactorTasks.Of(_reactor);
            _reactor.RunOnce(TimeSpan.Zero);
        }

        public int Quantum => _batch.Length * Batches;

        public void Run(long operations)
        {
            _ended = 0;
            for (long begun = 0; begun < operations; begun += _batch.Length)
            {
                for (int i = 0; i < _batch.Length; i++) _batch[i] = _tasks.Spawn(static self => self.YieldOnce(), this);
                // The queue alone, as the others have it: the reactor's wait is compared elsewhere.
                _tasks.RunReady();
                for (int i = 0; i < _batch.Length; i++) _batch[i].GetAwaiter().GetResult();
            }
            if (_ended != operations) throw new InvalidOperationException($"{_ended} of {operations} tasks ended");
        }

        public void Dispose() => _reactor.Dispose();

        private async ReactorTask YieldOnce()
        {
            await ReactorTask.Yield();
            _ended++;
        }
    }
}
