using Vmm.Events;

namespace Vmm.Devices;

/// <summary>A source of random bytes for the guest (virtio 1.2 § 5.4). It has no features and no configuration.</summary>
public sealed class EntropyDevice : VirtioDevice
{
    /// <summary>
    /// Most bytes of one request; a driver that asks for more gets this many and asks again. Bounds the time a turn takes: a driver that
    /// asks for gigabytes does not hold up others.
    /// </summary>
    public const int RequestBytesMax = 4096;

    /// <summary>Most bytes of one turn; then the other devices have theirs.</summary>
    private const int BytesPerTurnMax = 64 * 1024;

    private const ushort QueueSize = 64;

    private static readonly GuestFault NothingToFill =
        new(GuestFaultKind.Request, "an entropy request without a writable byte (§ 5.4.6.1)");

    private readonly IEntropySource _source;
    private readonly byte[] _random = new byte[RequestBytesMax];

    /// <summary>Makes the device.</summary>
    /// <param name="name">For messages and measurements: <c>rng0</c>.</param>
    /// <param name="source">Null: the kernel's.</param>
    public EntropyDevice(string name, IEntropySource? source = null) : base(VirtioDeviceType.Entropy, name)
    {
        _source = source ?? EntropySource.Kernel;
        AddQueue("requests", QueueSize, context =>
        {
            context.Turn.BytesMax = BytesPerTurnMax;
            return new SimpleWorker(context, ServeRequests);
        });
    }

    private void ServeRequests(QueueContext context)
    {
        VirtQueue requests = context.Queue;
        while (requests.TryPop(out DescriptorChain? chain))
        {
            bool canBeFilled = chain.WritableLength > 0;
            Errno error = Fill(chain.Writable, out uint written);
            requests.Push(chain, written);
            if (!canBeFilled) requests.Fault(NothingToFill);
            if (error != Errno.None) context.HostFault(error, "cannot get random bytes", "the entropy source");
            context.Turn.Charge(written);
        }
    }

    /// <summary>One request: as many random bytes as there is room for, up to the bound, by one call however the driver cut its
    /// buffer.</summary>
    private Errno Fill(ChainWriter destination, out uint written)
    {
        written = 0;
        Span<byte> random = _random.AsSpan(0, (int)Math.Min(destination.Remaining, RequestBytesMax));
        if (random.IsEmpty) return Errno.None;
        Errno error = _source.Fill(random);
        if (error == Errno.None) written = (uint)destination.CopyFrom(random);
        // No later guest can be given bytes that another one has.
        random.Clear();
        return error;
    }
}
