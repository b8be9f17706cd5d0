using Vmm.Events;

namespace Vmm.Devices;

// What runs on the device's reactor, by its runner: the driver's coming, the start and stop of queues, reset. Calls arrive there in the
// order of the register writes.
public sealed partial class VirtioMmioTransport
{
    private readonly ConfigWrittenCall _configChanged;
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
        _runner.Begin(new DriverSession(features, _memory, this, reactor, _main));
        foreach (MmioQueue queue in ready) StartQueue(queue);
    }

    /// <param name="queue">The queue.</param>
    /// <param name="position">Where it goes on; null for a fresh ring.</param>
    private void StartQueue(MmioQueue queue, ushort? position = null)
    {
        // The driver can't change a queue's registers while it is ready.
        QueueConfiguration ring = new()
        {
            Index = queue.Index,
            Size = queue.Size,
            SizeMax = queue.SizeMax,
            DescriptorTable = queue.Descriptors,
            DriverRing = queue.Driver,
            DeviceRing = queue.Device,
            AvailBase = position,
        };
        if (!_runner.TryStart(ring, out GuestFault fault)) _device.ReportGuestFault(fault);
    }

    private void StopQueue(MmioQueue queue) => _runner.Stop(queue.Index, QuiesceReason.Reset, () =>
    {
        lock (_lock) queue.Clear();
    });

    private void FinishReset()
    {
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

    /// <summary>
    /// Has the main reactor do something. If the reactor has stopped, the machine is ending and no caller waits for this.
    /// </summary>
    private bool Post(Action<IReactor> action) => _main.TryPost(new Call(action));

    private sealed class Call(Action<IReactor> action) : RemoteCall
    {
        protected override void Run(IReactor reactor) => action(reactor);
    }

    /// <summary>
    /// Passes the driver's writes to the configuration on to the device: one call for many writes, so that a driver can't pile them up.
    /// </summary>
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
