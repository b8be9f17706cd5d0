using Vmm.Events;

namespace Vmm.Devices;

/// <summary>A source of random bytes for the guest (virtio 1.2 § 5.4). It has no features and no configuration.</summary>
public sealed class EntropyDevice : VirtioDevice
{
    /// <summary>
    /// Most bytes of one request; a driver that asks for more gets this many and asks again. Bounds the time a turn takes: a driver that asks for
    /// gigabytes holds up nobody.
    /// </summary>
    public const int RequestBytesMax = 4096;

    private const ushort QueueSize = 64;

    private static readonly GuestFault NothingToFill = new(GuestFaultKind.Request, "an entropy request without a writable byte (§ 5.4.6.1)");

    private readonly IEntropySource _source;

    /// <summary>Makes the device.</summary>
    /// <param name="name">For messages and measurements: <c>rng0</c>.</param>
    /// <param name="source">Null: the kernel's.</param>
    public EntropyDevice(string name, IEntropySource? source = null) : base(VirtioDeviceType.Entropy, name)
    {
        _source = source ?? EntropySource.Kernel;
        AddQueue("requests", QueueSize, ServeRequests);
    }

    private void ServeRequests(VirtQueue requests)
    {
        while (requests.TryPop(out DescriptorChain? chain))
        {
            bool canBeFilled = chain.WritableLength > 0;
            Errno error = Fill(chain.Writable, out uint written);
            requests.Push(chain, written);
            if (!canBeFilled) requests.Fault(NothingToFill);
            if (error != Errno.None) ReportHostFault(error, "cannot get random bytes", "the entropy source");
        }
    }

    /// <summary>One request: as many random bytes as there is room for, up to the bound.</summary>
    private Errno Fill(ChainWriter destination, out uint written)
    {
        written = 0;
        while (written < RequestBytesMax && destination.TryNext(out Span<byte> piece, RequestBytesMax - written))
        {
            Errno error = _source.Fill(piece);
            if (error != Errno.None) return error;
            written += (uint)piece.Length;
        }
        return Errno.None;
    }
}
