using Vmm.Events;

namespace Vmm.Devices;

/// <summary>One queue of a virtio-mmio transport: what the driver wrote of it, and whether the device serves it.</summary>
internal sealed class MmioQueue(int index, ushort sizeMax) : IDisposable
{
    /// <summary>Its number.</summary>
    internal int Index => index;

    /// <summary>Most entries it may have.</summary>
    internal ushort SizeMax => sizeMax;

    /// <summary>What a kick rings. Lives as long as the transport: an ioeventfd may hold it across resets.</summary>
    internal EventFd Kick { get; } = new();

    // The registers, under the transport's lock.
    internal ushort Size;
    internal ulong Descriptors;
    internal ulong Driver;
    internal ulong Device;
    internal bool Ready;
    internal bool Stopping;

    /// <summary>Back to the values after a device reset.</summary>
    internal void Clear()
    {
        Size = 0;
        Descriptors = Driver = Device = 0;
        Ready = Stopping = false;
    }

    public void Dispose() => Kick.Dispose();
}
