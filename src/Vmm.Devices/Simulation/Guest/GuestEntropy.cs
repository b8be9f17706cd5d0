namespace Vmm.Devices.Simulation;

/// <summary>The guest's driver of a virtio entropy device (virtio 1.2 § 5.4).</summary>
internal sealed class GuestEntropy(GuestTransport transport, string name) : GuestDriver(transport, name)
{
    /// <summary>Most bytes asked for at once.</summary>
    internal const uint RequestBytesMax = 4096;

    private GuestQueue? _queue;
    private long _bytes;

    internal override string Description => "random bytes";

    internal override string Statistics => $"{_bytes} bytes, {_queue?.Kicks ?? 0} kicks, {Interrupts} interrupts";

    internal override async ValueTask<string?> Start(KernelCpu kernel)
    {
        if (!await Transport.Negotiate(0)) return "the device refuses the features";
        _queue = await GuestQueue.Start(kernel, this, 0, RequestBytesMax);
        if (_queue is null) return "no queue, or not enough guest memory for it";
        await Transport.SetStatus(DeviceStatus.DriverOk);
        return null;
    }

    /// <summary>Gets random bytes; the device may give fewer than asked for.</summary>
    /// <returns>How many; 0 if it gives none.</returns>
    internal async ValueTask<int> Read(KernelCpu kernel, Memory<byte> destination)
    {
        GuestBuffer buffer = new(_queue!.Data, Math.Min((uint)destination.Length, RequestBytesMax));
        uint written = Math.Min(await _queue.Execute(kernel, null, buffer) ?? 0, buffer.Length);
        if (!kernel.Cpu.Memory.TryRead(buffer.Address, destination.Span[..(int)written])) return 0;
        _bytes += written;
        return (int)written;
    }

    // What waits on CPU 0 looks again when it wakes.
    protected override void OnUsedBuffers(KernelCpu kernel)
    {
    }
}
