using System.Threading.Channels;
using Vmm.Events;
using Vmm.Events.Tasks;

namespace Vmm.Benchmarks;

/// <summary>Tasks are woken on their own thread.</summary>
internal static class Wake
{
    internal static Comparison Comparison { get; } = new("tasks", "tasks-wake",
        "n tasks are woken, then each runs; vmm-queued wakes those that are queued already. "
        + "The baseline writes to an unbounded single-reader channel and reads",
        [1, 64],
        [
            new("channel", n => new OneChannel(n)),
            new("vmm-queued", n => new WokenTasks(n, runs: false)),
            new("vmm-local", n => new WokenTasks(n, runs: true)),
        ]);

    /// <summary>Wakes between two looks at the clock, at least.</summary>
    private const int Burst = 64 * 16;

    private sealed class OneChannel(int items) : IContender
    {
        private readonly Channel<int> _channel = Channel.CreateUnbounded<int>(new UnboundedChannelOptions { SingleReader = true });

        public int Quantum => Burst;

        public void Run(long operations)
        {
            for (long done = 0; done < operations; done += items)
            {
                for (int i = 0; i < items; i++) _channel.Writer.TryWrite(1);
                for (int i = 0; i < items; i++)
                {
                    if (!_channel.Reader.TryRead(out _)) throw new InvalidOperationException("the channel lost an item");
                }
            }
        }

        public void Dispose() => _channel.Writer.Complete();
    }

    private sealed class WokenTasks : IContender
    {
        private readonly Reactor _reactor = new();
        private readonly ReactorTasks _tasks;
        private readonly Waker[] _wakers;
        private readonly bool _runs;
        private long _woken;

        internal WokenTasks(int tasks, bool runs)
        {
            _runs = runs;
            _wakers = new Waker[tasks];
            _tasks = ReactorTasks.Of(_reactor);
            for (int i = 0; i < tasks; i++) _tasks.Spawn(static at => at.Self.Listen(at.Index), (Self: this, Index: i)).Detach();
            _reactor.RunOnce(TimeSpan.Zero);
        }

        public int Quantum => Burst;

        public void Run(long operations)
        {
            _woken = 0;
            for (long done = 0; done < operations;)
            {
                for (int i = 0; i < _wakers.Length; i++, done++) _wakers[i].Wake();
                if (_runs) _tasks.RunReady();
            }
            _tasks.RunReady();
            long expected = _runs ? operations : _wakers.Length;
            if (_woken != expected) throw new InvalidOperationException($"tasks ran {_woken} times instead of {expected}");
        }

        public void Dispose()
        {
            foreach (Waker waker in _wakers) waker.Dispose();
            _reactor.Dispose();
        }

        private async ReactorTask Listen(int index)
        {
            _wakers[index] = await ReactorTask.GetWaker();
            while (true)
            {
                await ReactorTask.Park();
                _woken++;
            }
        }
    }
}

/// <summary>Tasks are woken from another thread, as fast as it can.</summary>
internal static class RemoteWake
{
    internal static Comparison Comparison { get; } = new("tasks", "tasks-remote-wake",
        "another thread wakes n tasks of a reactor in turns, as fast as it can; the baseline writes as many items to a channel that a "
        + "task reads",
        [1, 64],
        [
            new("channel", _ => new ChannelAcross()),
            new("vmm-remote", n => new WokenAcross(n)),
        ]);

    /// <summary>A run ends with one wake-up of a thread: it must not be most of the run.</summary>
    private const int Burst = 64 * 1024;

    private sealed class ChannelAcross : IContender
    {
        public int Quantum => Burst;

        private readonly Channel<long> _channel = Channel.CreateUnbounded<long>(new UnboundedChannelOptions
        {
            SingleReader = true,
            SingleWriter = true
        });
        private readonly Task _reading;
        private readonly SemaphoreSlim _last = new(0);

        internal ChannelAcross() => _reading = Task.Run(ReadAsync);

        public void Run(long operations)
        {
            for (long i = operations; i > 0; i--) _channel.Writer.TryWrite(i);
            _last.Wait();
        }

        public void Dispose()
        {
            _channel.Writer.Complete();
            _reading.Wait();
            _last.Dispose();
        }

        private async Task ReadAsync()
        {
            while (await _channel.Reader.WaitToReadAsync().ConfigureAwait(false))
            {
                while (_channel.Reader.TryRead(out long left))
                {
                    if (left == 1) _last.Release();
                }
            }
        }
    }

    private sealed class WokenAcross : IContender
    {
        private readonly CancellationTokenSource _stop = new();
        private readonly Thread _thread;
        private readonly Waker[] _wakers;
        private readonly SemaphoreSlim _noticed = new(0);
        private long _said;

        internal WokenAcross(int tasks)
        {
            _wakers = new Waker[tasks];
            using CountdownEvent ready = new(tasks);
            _thread = new Thread(() =>
            {
                using Reactor reactor = new();
                ReactorTasks all = ReactorTasks.Of(reactor);
                for (int i = 0; i < tasks; i++)
                {
                    int index = i;
                    all.Spawn(() => Listen(index, ready)).Detach();
                }
                reactor.Run(_stop.Token);
            });
            _thread.Start();
            ready.Wait();
        }

        public int Quantum => Burst;

        public void Run(long operations)
        {
            for (long i = 0; i < operations;)
            {
                for (int task = 0; task < _wakers.Length; task++, i++) _wakers[task].Wake();
            }
            Volatile.Write(ref _said, 1);
            _wakers[0].Wake();
            _noticed.Wait();
        }

        public void Dispose()
        {
            _stop.Cancel();
            _thread.Join();
            foreach (Waker waker in _wakers) waker.Dispose();
            _stop.Dispose();
            _noticed.Dispose();
        }

        private async ReactorTask Listen(int index, CountdownEvent ready)
        {
            _wakers[index] = await ReactorTask.GetWaker();
            ready.Signal();
            while (true)
            {
                await ReactorTask.Park();
                if (index == 0 && Interlocked.Exchange(ref _said, 0) == 1) _noticed.Release();
            }
        }
    }
}
