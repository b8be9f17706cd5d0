using Vmm.Events;

namespace Vmm.Devices;

// What runs on the main reactor: activation, the start and stop of queues, reset. Calls arrive there in the order of the register writes.
public sealed partial class VirtioMmioTransport
{
    private readonly ConfigWrittenCall _configChanged;
    private int _runningQueues;
    private bool _resetBegun;
    private TaskCompletionSource? _stopped;

    /// <summary>
    /// Resets the device as if the driver had asked for it, and completes when it is quiet. For the end of the machine, when the vCPUs are
    /// gone and the reactors still run. Any thread but a reactor's may wait for it.
    /// </summary>
    public Task StopAsync()
    {
        TaskCompletionSource stopped = new(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_lock)
        {
            BeginReset();
            if (!_resetting) return Task.CompletedTask;
            _stopped = stopped;
        }
        return stopped.Task;
    }

    // Under _lock. Which queues start with the device is settled now: one that is made ready from here on starts by itself.
    private void PostActivation()
    {
        ulong features = _driverFeatures;
        MmioQueue[] ready = [.. _queues.Where(queue => queue.Ready)];
        Post(reactor => Activate(features, ready, reactor));
    }

    private void Activate(ulong features, MmioQueue[] ready, IReactor reactor)
    {
        try
        {
            _device.Activate(new DeviceActivation(features, _memory, this, reactor, _main));
        }
        catch
        {
            // A bug, or a host that has nothing left: the reactor reports it, the driver is not left waiting.
            SignalNeedsReset();
            throw;
        }
        foreach (MmioQueue queue in ready) StartQueue(queue, reactor);
    }

    private void StartQueue(MmioQueue queue, IReactor reactor)
    {
        // Nobody else touches a queue's registers while it is ready.
        QueueConfiguration configuration = new()
        {
            Index = queue.Index,
            Name = _device.Queues[queue.Index].Name,
            Size = queue.Size,
            SizeMax = queue.SizeMax,
            DescriptorTable = queue.Descriptors,
            DriverRing = queue.Driver,
            DeviceRing = queue.Device,
            Features = _driverFeatures,
            MeasureLatency = _device.MeasureLatency,
            Statistics = _device.QueueStatistics[queue.Index],
            OnFault = _device.ReportGuestFault,
        };
        if (!VirtQueue.TryCreate(configuration, _memory, this, out VirtQueue? ring, out GuestFault fault))
        {
            _device.ReportGuestFault(fault);
            return;
        }
        queue.Ring = ring;
        _runningQueues++;
        OnReactorOf(queue, reactor, r => _device.StartQueue(ring, queue.Kick.Duplicate(), r));
    }

    private void StopQueue(MmioQueue queue, IReactor reactor)
    {
        if (queue.Ring is not { } ring)
        {
            Quiet(queue);
            return;
        }
        bool asked = OnReactorOf(queue, reactor, r => _device.StopQueue(queue.Index, r, () =>
        {
            ring.Dispose();
            OnMain(queue, () => Quiet(queue));
        }));
        // Its reactor has stopped, and took the kick with it.
        if (!asked) Quiet(queue);
    }

    private void Quiet(MmioQueue queue)
    {
        if (queue.Ring is not null) _runningQueues--;
        queue.Ring = null;
        lock (_lock) queue.Clear();
        if (_resetBegun && _runningQueues == 0) FinishReset();
    }

    private void Reset(IReactor reactor)
    {
        _resetBegun = true;
        if (_runningQueues == 0)
        {
            FinishReset();
            return;
        }
        foreach (MmioQueue queue in _queues.Where(queue => queue is { Ring: not null, Stopping: false }).ToArray()) StopQueue(queue, reactor);
    }

    private void FinishReset()
    {
        _resetBegun = false;
        _device.Reset();
        TaskCompletionSource? stopped;
        lock (_lock)
        {
            CompleteReset();
            stopped = _stopped;
            _stopped = null;
        }
        stopped?.SetResult();
    }

    private void WriteConfig(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset < Length && _device.Config.Write((int)(offset - MmioRegister.Config), data))
            _configChanged.Written((int)(offset - MmioRegister.Config), data.Length);
        else
            Refuse("to write configuration that is read-only or does not exist");
    }

    /// <summary>Has the main reactor do something. If that has stopped the machine is ending, and nobody waits for it.</summary>
    private bool Post(Action<IReactor> action) => _main.TryPost(new Call(action));

    private bool OnReactorOf(MmioQueue queue, IReactor reactor, Action<IReactor> action)
    {
        if (queue.Remote != _main) return queue.Remote.TryPost(new Call(action));
        action(reactor);
        return true;
    }

    private void OnMain(MmioQueue queue, Action action)
    {
        if (queue.Remote == _main) action();
        else Post(_ => action());
    }

    private sealed class Call(Action<IReactor> action) : RemoteCall
    {
        protected override void Run(IReactor reactor) => action(reactor);
    }

    /// <summary>Tells the device what the driver wrote of its configuration: one call for many writes, so that a driver can't pile them up.</summary>
    private sealed class ConfigWrittenCall(VirtioMmioTransport transport) : RemoteCall
    {
        private readonly Lock _lock = new();
        private int _start = int.MaxValue;
        private int _end;

        internal void Written(int offset, int length)
        {
            lock (_lock)
            {
                _start = Math.Min(_start, offset);
                _end = Math.Max(_end, Math.Min(offset + length, transport._device.Config.Length));
            }
            transport._main.TryPost(this);
        }

        protected override void Run(IReactor reactor)
        {
            int start, end;
            lock (_lock)
            {
                (start, end) = (_start, _end);
                (_start, _end) = (int.MaxValue, 0);
            }
            if (start < end) transport._device.ConfigWritten(start, end - start);
        }
    }
}
