using System.Runtime.InteropServices;
using Vmm.Devices;

namespace MyDevice;

/// <summary>Gives back what it is sent, and shows in its configuration how many requests there were.</summary>
public sealed class MyDeviceDevice : VirtioDevice
{
    private const ushort QueueSize = 64;

    private uint _answered;

    // 63 is a device type that virtio has not given away: the driver of your guest looks for it.
    public MyDeviceDevice(string name) : base((VirtioDeviceType)63, name, configLength: sizeof(uint)) =>
        AddQueue("requests", QueueSize, Serve);

    /// <summary>Called on the reactor's thread when the driver kicked. What is popped has to be pushed.</summary>
    private void Serve(QueueContext context)
    {
        while (context.Queue.TryPop(out DescriptorChain? chain))
        {
            ChainReader request = chain.Readable;
            ChainWriter answer = chain.Writable;
            uint written = 0;
            while (request.TryNext(out ReadOnlySpan<byte> piece)) written += (uint)answer.CopyFrom(piece);
            context.Queue.Push(chain, written);
            _answered++;
            Config.Update(0, MemoryMarshal.AsBytes(new ReadOnlySpan<uint>(in _answered)));
        }
    }
}
