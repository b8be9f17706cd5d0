using System.Numerics;

namespace Vmm.Devices;

/// <summary>How a network device presents itself. Read once, when the device is made.</summary>
public sealed record NetDeviceOptions
{
    /// <summary>Most queue pairs: a vCPU needs one.</summary>
    public const int QueuePairsMax = 64;

    /// <summary>Smallest MTU (virtio 1.2 § 5.1.4.1).</summary>
    public const int MtuMin = 68;

    /// <summary>Largest MTU.</summary>
    public const int MtuMax = ushort.MaxValue;

    /// <summary>Queue pairs, a receive and a transmit queue each; no more than the network has. Each queue may be served by a reactor of its own.</summary>
    public int QueuePairs { get; init; } = 1;

    /// <summary>Most entries of each queue, a power of two.</summary>
    public ushort QueueSize { get; init; } = 256;

    /// <summary>The guest's address; null: a random one.</summary>
    public MacAddress? Mac { get; init; }

    /// <summary>The largest packet the guest should send, in bytes, that of IP counted and that of Ethernet not. Null: the guest is told none.</summary>
    public int? Mtu { get; init; }

    /// <summary>What the guest is told of the link's speed, in Mb/s. It binds nobody.</summary>
    public uint SpeedMbps { get; init; } = 10_000;

    /// <summary>
    /// Whether the driver gets a control queue: receive filters, address, queue pairs. Front-ends of vhost-user have one of their own and keep it.
    /// </summary>
    public bool HasControlQueue { get; init; } = true;

    internal void Validate(string name, INetBackend backend)
    {
        if (Failure(name) is { } failure) throw new ArgumentException(failure);
        if (QueuePairs > backend.QueuePairs)
            throw new ArgumentException($"network '{name}' has {QueuePairs} queue pairs: {backend.Description} has {backend.QueuePairs}");
    }

    /// <summary>What is out of its range, in a sentence; null if nothing is.</summary>
    internal string? Failure(string name)
    {
        if (QueuePairs is < 1 or > QueuePairsMax) return $"network '{name}' has {QueuePairs} queue pairs: give it 1 to {QueuePairsMax}";
        if (QueueSize is < 4 or > VirtQueue.SizeLimit || !BitOperations.IsPow2(QueueSize))
            return $"network '{name}' has a queue size of {QueueSize}: give it a power of two from 4 to {VirtQueue.SizeLimit}";
        if (Mtu is < MtuMin or > MtuMax) return $"network '{name}' has an MTU of {Mtu}: give it {MtuMin} to {MtuMax}";
        return Mac is { IsMulticast: true } mac ? $"network '{name}' has the address {mac}, which names several stations: give it one with an even first byte" : null;
    }
}
