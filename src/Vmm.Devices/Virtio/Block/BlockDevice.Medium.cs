using System.Buffers.Binary;
using Microsoft.Extensions.Logging;
using Vmm.Events;

namespace Vmm.Devices;

// A disk that is flushed from outside, or gets another medium while it is served.
public sealed partial class BlockDevice
{
    /// <summary>Longest wait for requests in flight, and for a flush.</summary>
    private static readonly TimeSpan MediumPatience = TimeSpan.FromSeconds(30);

    private readonly Lock _mediumLock = new();
    /// <summary>The queues that have a worker now.</summary>
    private readonly List<BlockQueue> _workers = [];
    /// <summary>Queues stand still until the disk has its other medium; under the lock.</summary>
    private bool _isHeld;
    private bool _isDisposed;
    private int _isBusy;

    /// <summary>Opens another medium with the options of this one; null if it is not known how.</summary>
    internal Func<string, IBlockBackend>? OpenMedium { get; init; }

    /// <summary>Makes what was written durable. Any thread.</summary>
    /// <param name="reactor">The device's own.</param>
    /// <exception cref="InvalidOperationException">It is being flushed already, or gets another medium.</exception>
    /// <exception cref="IOException">The storage failed: what was written may be lost.</exception>
    /// <exception cref="TimeoutException">The storage does not answer; the flush goes on.</exception>
    public async Task FlushAsync(RemoteEndpoint reactor)
    {
        ArgumentNullException.ThrowIfNull(reactor);
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
            }, MediumPatience).ConfigureAwait(false);
        }
        catch (Exception failed)
        {
            flushed.TrySetException(failed);
        }
        try
        {
            await closed.WaitAsync(MediumPatience).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            throw new TimeoutException($"{Backend.Description} was not flushed within {MediumPatience.TotalSeconds} s");
        }
        Errno errno = await flushed.Task.ConfigureAwait(false);
        if (errno != Errno.None)
        {
            CountError(flush, errno);
            // Set, and never written back: a queue may set it at this moment.
            if (!flush.IsUnasked) _hasLostWrites = true;
            throw new KernelException($"cannot flush {Backend.Description}", errno);
        }
        if (_hasLostWrites) throw new IOException($"{Backend.Description} lost writes before: an earlier flush failed");

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

    /// <summary>As <see cref="SwapAsync(IBlockBackend)"/>, with a medium that is opened as the one before was.</summary>
    /// <param name="path">A path or a URI, as <see cref="DiskSpec.Path"/> has it.</param>
    /// <exception cref="ArgumentException">It can't be this disk's medium; the message says why.</exception>
    /// <exception cref="NotSupportedException">The disk was made of a backend, not of a description.</exception>
    /// <exception cref="IOException">It can't be opened; the message says why.</exception>
    public async Task SwapAsync(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (OpenMedium is not { } open)
            throw new NotSupportedException($"disk '{Name}' was made of a backend: give it another backend");
        // Storage may take its time.
        IBlockBackend medium = await Task.Run(() => open(path)).ConfigureAwait(false);
        try
        {
            await SwapAsync(medium).ConfigureAwait(false);
        }
        catch
        {
            medium.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Gives the disk another medium: requests in flight complete on the one before, which is closed, and the driver learns of another
    /// capacity by an interrupt. Of other contents it does not learn: it must not have the disk in use. Any thread.
    /// </summary>
    /// <param name="medium">Taken over; stays the caller's if this throws.</param>
    /// <exception cref="ArgumentException">The driver works with what this medium does not have; the message says with what.</exception>
    /// <exception cref="InvalidOperationException">Another one is being put in, or it is being flushed.</exception>
    /// <exception cref="TimeoutException">Requests in flight do not complete: the disk goes on with the medium it has.</exception>
    public async Task SwapAsync(IBlockBackend medium)
    {
        ArgumentNullException.ThrowIfNull(medium);
        if (WhyNot(medium) is { } why) throw new ArgumentException($"{medium.Description} cannot be the medium of disk '{Name}': {why}");
        BeginBusy();
        try
        {
            BlockQueue[] workers;
            lock (_mediumLock)
            {
                _isHeld = true;
                workers = [.. _workers];
            }
            IBlockBackend before = Backend;
            try
            {
                await Task.WhenAll(workers.Select(worker => worker.HoldAsync())).WaitAsync(MediumPatience).ConfigureAwait(false);
                PutIn(medium);
            }
            catch (TimeoutException)
            {
                throw new TimeoutException($"disk '{Name}' still has {InFlight} requests in flight after "
                    + $"{MediumPatience.TotalSeconds} s: it keeps its medium");
            }
            finally
            {
                lock (_mediumLock)
                {
                    _isHeld = false;
                    workers = [.. _workers];
                }
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

    private void BeginBusy()
    {
        if (Interlocked.Exchange(ref _isBusy, 1) != 0)
            throw new InvalidOperationException($"disk '{Name}' is being flushed, or gets another medium: try again when that is done");
    }

    private void EndBusy() => Volatile.Write(ref _isBusy, 0);

    /// <summary>What the driver was promised, and the medium does not keep; null if it keeps all.</summary>
    private string? WhyNot(IBlockBackend medium) =>
        medium.LogicalBlockBytes != Backend.LogicalBlockBytes
            ? $"its blocks have {medium.LogicalBlockBytes} bytes, and the disk's {Backend.LogicalBlockBytes}"
        : medium.IsReadOnly != Backend.IsReadOnly
            ? medium.IsReadOnly ? "it is read-only, and the disk is not" : "it may be written, and the disk is read-only"
        : !medium.QueuesAreIndependent && Backend.QueuesAreIndependent && _queueCount > 1
            ? "one thread has to serve all of its queues: give the disk one queue"
        : null;

    private void PutIn(IBlockBackend medium)
    {
        IBlockBackend before = Backend;
        before.CapacityChanged -= OnCapacityChanged;
        before.Noticed -= OnNoticed;
        byte[] config;
        lock (_mediumLock)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            Backend = medium;
        }
        lock (_capacityLock)
        {
            _hasLostWrites = false;
            config = Configuration(_spec);
            // What the driver wrote there is its own.
            Config.Update(0, config.AsSpan(0, BlockProtocol.ConfigWriteback));
            Config.Update(BlockProtocol.ConfigWriteback + 1, config.AsSpan(BlockProtocol.ConfigWriteback + 1));
            ulong sectors = BinaryPrimitives.ReadUInt64LittleEndian(config);
            if (_limits is { } limits) _limits = limits with { CapacitySectors = sectors };
        }
        medium.CapacityChanged += OnCapacityChanged;
        medium.Noticed += OnNoticed;
        Logger.LogInformation(DeviceEvents.MediumChanged, "{Device}: {Before} was taken out, {Medium} of {Bytes} bytes is in now",
            Name, before.Description, medium.Description, medium.CapacityBytes);
        Driver?.Interrupt.SignalConfig();
    }
}
