using Vmm.Events;

namespace Vmm.Devices;

/// <summary>One queue of a virtio-mmio transport: what the driver wrote of it, and whether the device serves it.</summary>
internal sealed class MmioQueue(int index, ushort sizeMax, RemoteEndpoint remote) : IDisposable
{
    /// <summary>Its number.</summary>
    internal int Index => index;

    /// <summary>Most entries it may have.</summary>
    internal ushort SizeMax => sizeMax;

    /// <summary>The reactor that serves it.</summary>
    internal RemoteEndpoint Remote => remote;

    /// <summary>What a kick rings. Lives as long as the transport: an ioeventfd may hold it across resets.</summary>
    internal EventFd Kick { get; } = new();

    // The registers, under the transport's lock.
    internal ushort Size;
    internal ulong Descriptors;
    internal ulong Driver;
    internal ulong Device;
    internal bool Ready;
    internal bool Stopping;

    /// <summary>The ring the device serves, until it is quiet. Touched on the transport's main reactor only.</summary>
    internal VirtQueue? Ring;

    /// <summary>Back to the values of a device nobody has talked to.</summary>
    internal void Clear()
    {
        Size = 0;
        Descriptors = Driver = Device = 0;
        Ready = Stopping = false;
    }

    public void Dispose() => Kick.Dispose();
}
