namespace Vmm.Devices.Tests.VhostUser;

/// <summary>A device that counts its lifecycle, and answers requests at once or when it is told to.</summary>
internal sealed class ScriptedDevice : VirtioDevice
{
    internal const int ConfigBytes = 64;
    internal const int WritableOffset = 32;

    private readonly Queue<DescriptorChain> _held = new();
    private int _heldCount;
    private int _turns;
    private QueueContext? _queue;

    internal ScriptedDevice(VirtioDeviceType type) : base(type, "scripted", ConfigBytes)
    {
        Config.AllowWrites(WritableOffset, 1);
        AddQueue("requests", 256, context => new Worker(this, context));
    }

    internal bool HoldsRequests { get; init; }

    /// <summary>Leaves its requests in the ring, as a device does that waits for its host side.</summary>
    internal bool TakesNothing { get; init; }

    internal int Activations { get; private set; }

    internal int Resets { get; private set; }

    internal int Running { get; private set; }

    internal (int Offset, int Length) LastConfigWrite { get; private set; }

    /// <summary>How often its queue was served. Any thread; what the queue does after that is done when the reactor runs its next remote call.</summary>
    internal int Turns => Volatile.Read(ref _turns);

    /// <summary>Requests taken and not given back. Any thread.</summary>
    internal int Held => Volatile.Read(ref _heldCount);

    /// <summary>Gives requests back, on the device's thread.</summary>
    internal void Release(int count)
    {
        for (; count > 0; count--) _queue!.Queue.Push(_held.Dequeue(), 0);
        Volatile.Write(ref _heldCount, _held.Count);
        _queue!.Publish();
    }

    protected override void OnDriver(DriverSession driver) => Activations++;

    protected override void OnDriverGone() => Resets++;

    protected override void OnConfigWritten(int offset, int length) => LastConfigWrite = (offset, length);

    private void Serve(VirtQueue queue)
    {
        while (!TakesNothing && queue.TryPop(out DescriptorChain? chain))
        {
            if (HoldsRequests) _held.Enqueue(chain); else queue.Push(chain, 0);
        }
        Volatile.Write(ref _heldCount, _held.Count);
        Volatile.Write(ref _turns, _turns + 1);
    }

    private sealed class Worker : QueueWorker
    {
        private readonly ScriptedDevice _device;

        internal Worker(ScriptedDevice device, QueueContext context) : base(context)
        {
            _device = device;
            Resume();
        }

        public override void Serve() => _device.Serve(Queue);

        public override void Resume()
        {
            _device.Running++;
            _device._queue = Context;
        }

        // A queue that stands still may be reset after that.
        public override void Quiesce(QuiesceReason reason) => _device.Running = 0;
    }
}
