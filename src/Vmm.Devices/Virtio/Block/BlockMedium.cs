using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// What is in a disk: the backend that its queues work on, and the change to another one while they run. A flush from outside and a change
/// exclude each other. Any thread.
/// </summary>
/// <remarks>
/// <code>
/// Running --Swap--> Held: no queue has an engine --the other one is in, or time is up--> Running
/// Running, Held --Dispose--> Closed
/// </code>
/// </remarks>
internal sealed class BlockMedium(string name, IBlockBackend backend) : IDisposable
{
    /// <summary>Longest wait for requests in flight, and for a flush.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly Lock _lock = new();
    /// <summary>The queues that have a worker now. Under the lock, as the state.</summary>
    private readonly List<BlockQueue> _workers = [];
    private State _state;
    private int _isBusy;

    private enum State
    {
        Running,

        /// <summary>Queues stand still until the disk has its other medium.</summary>
        Held,

        Closed,
    }

    internal IBlockBackend Backend
    {
        get => Volatile.Read(ref backend);
        private set => Volatile.Write(ref backend, value);
    }

    /// <summary>A queue starts. On its thread.</summary>
    /// <returns>Its engine; null while the disk gets another medium: <see cref="BlockQueue.GoOnAsync"/> follows.</returns>
    internal IBlockEngine? Enter(BlockQueue worker)
    {
        lock (_lock)
        {
            IBlockEngine? engine = _state == State.Held ? null : worker.CreateEngine();
            _workers.Add(worker);
            return engine;
        }
    }

    internal void Leave(BlockQueue worker)
    {
        lock (_lock) _workers.Remove(worker);
    }

    /// <summary>Makes what was written durable.</summary>
    /// <param name="reactor">The device's own.</param>
    /// <returns>The flush, and how it ended.</returns>
    internal async Task<(BlockOperation Flush, Errno Error)> FlushAsync(RemoteEndpoint reactor)
    {
        BeginBusy();
        TaskCompletionSource<Errno> flushed = new(TaskCreationOptions.RunContinuationsAsynchronously);
        BlockOperation flush = new((_, error) => flushed.TrySetResult(error));
        flush.PrepareFlush();
        IBlockEngine? engine = null;
        Task closed = Close();
        try
        {
            await reactor.InvokeAsync(at =>
            {
                engine = Backend.CreateEngine(at, () => { });
                engine.Start(flush);
                engine.Submit();
                return true;
            }, Patience).ConfigureAwait(false);
        }
        catch (Exception failed)
        {
            flushed.TrySetException(failed);
        }
        try
        {
            await closed.WaitAsync(Patience).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            throw new TimeoutException($"{Backend.Description} was not flushed within {Patience.TotalSeconds} s");
        }
        return (flush, await flushed.Task.ConfigureAwait(false));

        // The engine is used on its thread, and closed when the flush is over, however long the caller waits.
        async Task Close()
        {
            await ((Task)flushed.Task).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ForceYielding);
            if (engine is not null)
            {
                await ((Task)reactor.InvokeAsync(_ =>
                {
                    engine.Dispose();
                    return true;
                })).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
            EndBusy();
        }
    }

    /// <summary>Puts another medium in when no request is in flight, and closes the one before.</summary>
    /// <param name="medium">Taken over, unless this throws.</param>
    /// <param name="describe">Has the device describe what is in now. No queue runs.</param>
    /// <param name="inFlight">For the message.</param>
    internal async Task SwapAsync(IBlockBackend medium, Action<IBlockBackend> describe, Func<int> inFlight)
    {
        BeginBusy();
        try
        {
            IBlockBackend before = Backend;
            BlockQueue[] workers = Hold(true);
            try
            {
                await Task.WhenAll(workers.Select(worker => worker.HoldAsync())).WaitAsync(Patience).ConfigureAwait(false);
                lock (_lock)
                {
                    ObjectDisposedException.ThrowIf(_state == State.Closed, this);
                    Backend = medium;
                }
                describe(before);
            }
            catch (TimeoutException)
            {
                throw new TimeoutException($"disk '{name}' still has {inFlight()} requests in flight after "
                    + $"{Patience.TotalSeconds} s: it keeps its medium");
            }
            finally
            {
                workers = Hold(false);
                await Task.WhenAll(workers.Select(worker => worker.GoOnAsync())).ConfigureAwait(false);
            }
            // It syncs, which takes its time.
            await Task.Run(before.Dispose).ConfigureAwait(false);
        }
        finally
        {
            EndBusy();
        }
    }

    public void Dispose()
    {
        lock (_lock) _state = State.Closed;
        Backend.Dispose();
    }

    private BlockQueue[] Hold(bool isHeld)
    {
        lock (_lock)
        {
            if (_state != State.Closed) _state = isHeld ? State.Held : State.Running;
            return [.. _workers];
        }
    }

    private void BeginBusy()
    {
        if (Interlocked.Exchange(ref _isBusy, 1) != 0)
            throw new InvalidOperationException($"disk '{name}' is being flushed, or gets another medium: try again when that is done");
    }

    private void EndBusy() => Volatile.Write(ref _isBusy, 0);
}
