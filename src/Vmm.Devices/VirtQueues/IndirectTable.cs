namespace Vmm.Devices;

/// <summary>Descriptors that lie elsewhere than in the ring (virtio 1.2 § 2.7.5.3 and § 2.8.7).</summary>
internal static class IndirectTable
{
    /// <summary>Most entries a 16-bit number can name.</summary>
    private const uint EntriesMax = ushort.MaxValue + 1;

    /// <summary>
    /// Checks the descriptor that names a table, and finds it; it has no bytes if there is a fault. A WRITE flag on it means nothing
    /// (§ 2.7.5.3.2).
    /// </summary>
    internal static GuestFault Find(MemoryMap map, in Descriptor descriptor, ushort flags, bool negotiated, out GuestWindow table)
    {
        table = default;
        uint entries = descriptor.Length / RingLayout.DescriptorLength;
        if (!negotiated) return QueueFaults.NotNegotiated;
        if ((flags & RingLayout.FlagNext) != 0) return QueueFaults.IndirectNext;
        if (descriptor.Length % RingLayout.DescriptorLength != 0 || entries is 0 or > EntriesMax) return QueueFaults.TableLength;
        return GuestWindow.TryResolve(map, descriptor.Address, descriptor.Length, 1, out table) ? default : QueueFaults.TableAddress;
    }
}
