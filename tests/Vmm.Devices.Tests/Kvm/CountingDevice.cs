namespace Vmm.Devices.Tests.Kvm;

/// <summary>A virtio device with one queue that writes the number of each request into it.</summary>
internal sealed class CountingDevice : VirtioDevice
{
    internal const uint RequestBytes = 8;
    private ulong _served;

    internal CountingDevice() : base(VirtioDeviceType.Entropy, "count") => AddQueue("requests", 64, Serve);

    internal ulong Served => Volatile.Read(ref _served);

    private void Serve(QueueContext context)
    {
        VirtQueue queue = context.Queue;
        while (queue.TryPop(out DescriptorChain? chain))
        {
            chain.Writable.TryWrite(_served);
            Volatile.Write(ref _served, _served + 1);
            queue.Push(chain, RequestBytes);
        }
    }
}
