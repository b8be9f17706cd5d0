using Vmm.Devices;

namespace Vmm.Examples;

/// <summary>Answers each request with the sum of all bytes its driver has sent so far: another process has to know it.</summary>
public sealed class SumDevice : VirtioDevice
{
    private long _sum;

    /// <summary>Makes the device.</summary>
    /// <param name="name">For messages and measurements.</param>
    public SumDevice(string name) : base((VirtioDeviceType)63, name) => AddQueue("requests", sizeMax: 64, Serve);

    /// <inheritdoc/>
    protected override int StateVersion => 2;

    /// <inheritdoc/>
    protected override void Save(StateWriter to)
    {
        ArgumentNullException.ThrowIfNull(to);
        to.Add("sum", _sum);
    }

    /// <inheritdoc/>
    protected override void Restore(StateReader from)
    {
        ArgumentNullException.ThrowIfNull(from);
        // Version 1 counted in 32 bits, and called it "total".
        _sum = from.Version == 1 ? from.Int64("total", 0, uint.MaxValue) : from.Int64("sum", 0, long.MaxValue);
    }

    /// <inheritdoc/>
    protected override void OnDriverGone() => _sum = 0;

    private void Serve(QueueContext context)
    {
        while (context.Queue.TryPop(out DescriptorChain? chain))
        {
            ChainReader bytes = chain.Readable;
            while (bytes.TryNext(out ReadOnlySpan<byte> piece))
                foreach (byte value in piece) _sum += value;
            ChainWriter answer = chain.Writable;
            context.Queue.Push(chain, answer.TryWrite(_sum) ? (uint)sizeof(long) : 0);
        }
    }
}
