using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>Which ring a test runs on; each combination is a row of the theories.</summary>
public sealed record RingShape(bool Packed, bool EventIndex, bool Indirect)
{
    internal ulong Features => (Packed ? VirtioFeatures.PackedRing : 0) | (EventIndex ? VirtioFeatures.EventIndex : 0)
        | (Indirect ? VirtioFeatures.IndirectDescriptors : 0) | VirtioFeatures.Version1;

    public static TheoryData<RingShape> All()
    {
        TheoryData<RingShape> all = [];
        for (int bits = 0; bits < 8; bits++) all.Add(new RingShape((bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0));
        return all;
    }

    public override string ToString() =>
        (Packed ? "packed" : "split") + (EventIndex ? ", event index" : "") + (Indirect ? ", indirect" : "");
}

/// <summary>Counts what a queue signals.</summary>
internal sealed class SignalCounter : IVirtioInterrupt
{
    internal int Queue { get; private set; }

    internal int Config { get; private set; }

    internal int NeedsReset { get; private set; }

    public void SignalQueue(int queueIndex) => Queue++;

    public void SignalConfig() => Config++;

    public void SignalNeedsReset() => NeedsReset++;
}

/// <summary>A driver-side and a device-side ring over the same guest memory.</summary>
internal sealed class RingRig : IDisposable
{
    internal const ulong MemoryLength = 4 << 20;
    internal const ulong BufferStart = 2 << 20;

    internal RingRig(RingShape shape, ushort size = 16, Func<QueueConfiguration, QueueConfiguration>? configure = null, Action<DriverQueue>? prepare = null)
    {
        Memory = GuestMemory.Create(MemoryLength);
        Allocator = new GuestAllocator(4096, BufferStart - 4096);
        Driver = DriverQueue.Create(Memory, Allocator, size, shape.Features);
        prepare?.Invoke(Driver);
        QueueConfiguration configuration = Driver.Configuration();
        Assert.True(VirtQueue.TryCreate(configure?.Invoke(configuration) ?? configuration, Memory, Signals, out VirtQueue? queue, out GuestFault fault), fault.Text);
        Device = queue;
    }

    internal GuestMemory Memory { get; }

    internal GuestAllocator Allocator { get; }

    internal DriverQueue Driver { get; }

    internal SplitDriverQueue Split => (SplitDriverQueue)Driver;

    internal PackedDriverQueue Packed => (PackedDriverQueue)Driver;

    internal VirtQueue Device { get; }

    internal SignalCounter Signals { get; } = new();

    internal ushort Add(ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable)
    {
        Assert.True(Driver.TryAdd(readable, writable, out ushort id), "the ring is full");
        return id;
    }

    internal DescriptorChain Pop()
    {
        Assert.True(Device.TryPop(out DescriptorChain? chain), $"no chain: {Device.FirstFault.Text}");
        return chain;
    }

    internal UsedChain Collect()
    {
        Assert.True(Driver.TryCollect(out UsedChain used), "nothing used");
        return used;
    }

    /// <summary>The next pop must find this kind of fault, say so once, and end the queue.</summary>
    internal void ExpectFault(GuestFaultKind kind)
    {
        Assert.False(Device.TryPop(out _));
        Assert.Equal(kind, Device.FirstFault.Kind);
        Assert.NotEmpty(Device.FirstFault.Text);
        Assert.Equal(1, Signals.NeedsReset);
        Assert.False(Device.TryPop(out _));
        Assert.Equal(1, Signals.NeedsReset);
    }

    public void Dispose()
    {
        Device.Dispose();
        Driver.Dispose();
        Memory.Dispose();
    }
}
