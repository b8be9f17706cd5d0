namespace Vmm.Devices.Tests;

/// <summary>
/// A device for tests of transports: queue 0 copies what it reads to what it may write at once, queue 1 keeps its chains until it is told to
/// give them back. Writes down what happens to it.
/// </summary>
internal sealed class EchoDevice : VirtioDevice
{
    internal const ulong OfferedFeature = 1UL << 3;
    internal const ulong FeatureThatNeedsOffered = 1UL << 4;

    private readonly List<DescriptorChain> _kept = [];
    private QueueContext? _keeping;

    internal EchoDevice() : base(VirtioDeviceType.Console, "echo", configLength: 16)
    {
        AddQueue("echo", 64, context => new Worker(this, context, Echo));
        AddQueue("keep", 64, context => new Worker(this, context, Keep));
        Config.Update(0, [1, 2, 3, 4, 5, 6, 7, 8]);
        Config.AllowWrites(8, 4);
    }

    internal List<string> Log { get; } = [];

    internal List<int> Threads { get; } = [];

    internal DriverSession? Active => Driver;

    internal int Kept => _kept.Count;

    internal bool KeepsThroughStop { get; set; }

    internal bool ThrowsWhenKicked { get; set; }

    public override ulong Features => OfferedFeature | FeatureThatNeedsOffered;

    public override bool AcceptsFeatures(ulong features) =>
        (features & (OfferedFeature | FeatureThatNeedsOffered)) != FeatureThatNeedsOffered;

    internal void GiveBack()
    {
        foreach (DescriptorChain chain in _kept) chain.Queue.Push(chain, 0);
        _kept.Clear();
        _keeping?.Publish();
    }

    internal void Grow()
    {
        Config.Update(0, [9, 9]);
        Driver?.Interrupt.SignalConfig();
    }

    protected override void OnDriver(DriverSession driver) => Note("activate");

    protected override void OnDriverGone() => Note("reset");

    protected override void OnConfigWritten(int offset, int length) => Note($"config {offset}+{length}");

    private void Echo(QueueContext context)
    {
        VirtQueue queue = context.Queue;
        // With a chain in its hands, so that it can never be given back.
        if (ThrowsWhenKicked && queue.TryPop(out _)) throw new InvalidOperationException("a bug of the device");
        Span<byte> bytes = stackalloc byte[256];
        while (queue.TryPop(out DescriptorChain? chain))
        {
            ChainReader reader = chain.Readable;
            ChainWriter writer = chain.Writable;
            uint done = 0;
            for (int read = reader.CopyTo(bytes); read > 0; read = reader.CopyTo(bytes)) done += (uint)writer.CopyFrom(bytes[..read]);
            queue.Push(chain, done);
        }
    }

    private void Keep(QueueContext context)
    {
        VirtQueue queue = context.Queue;
        _keeping = context;
        while (queue.TryPop(out DescriptorChain? chain)) _kept.Add(chain);
    }

    private void Note(string what)
    {
        Log.Add(what);
        Threads.Add(Environment.CurrentManagedThreadId);
    }

    private sealed class Worker : QueueWorker
    {
        private readonly EchoDevice _device;
        private readonly Action<QueueContext> _serve;

        internal Worker(EchoDevice device, QueueContext context, Action<QueueContext> serve) : base(context)
        {
            _device = device;
            _serve = serve;
            device.Note($"start {context.Index}");
        }

        public override void Serve() => _serve(Context);

        public override void Quiesce(QuiesceReason reason)
        {
            _device.Note($"stop {Context.Index}");
            if (Context == _device._keeping && !_device.KeepsThroughStop) _device.GiveBack();
        }

        protected override void Dispose(bool disposing)
        {
            _device.Note($"stopped {Context.Index}");
            base.Dispose(disposing);
        }
    }
}
