namespace Vmm.Devices;

/// <summary>Sizes, alignments and places of a ring's three parts (virtio 1.2 § 2.7 and § 2.8).</summary>
internal static class RingLayout
{
    internal const uint DescriptorLength = 16;

    internal const ushort FlagNext = 1;
    internal const ushort FlagWrite = 2;
    internal const ushort FlagIndirect = 4;

    /// <summary>A split ring's available and used rings: flags, index, entries, and with EVENT_IDX the other side's event index.</summary>
    internal const ulong FlagsOffset = 0, IndexOffset = 2, EntriesOffset = 4;
    internal const ushort NoNotify = 1;
    internal const uint AvailableEntryLength = 2, UsedEntryLength = 8;

    /// <summary>A packed ring's event suppression structures: position and wrap counter, then flags. Read and written as one.</summary>
    internal const ulong EventLength = 4;
    internal const ushort EventDisable = 1, EventAtPosition = 2;

    internal static ulong TableLength(ushort size) => (ulong)size * DescriptorLength;

    internal static ulong DriverLength(QueueConfiguration configuration) => configuration.Has(VirtioFeatures.PackedRing)
        ? EventLength
        : EntriesOffset + (ulong)configuration.Size * AvailableEntryLength + EventIndexLength(configuration);

    internal static ulong DeviceLength(QueueConfiguration configuration) => configuration.Has(VirtioFeatures.PackedRing)
        ? EventLength
        : EntriesOffset + (ulong)configuration.Size * UsedEntryLength + EventIndexLength(configuration);

    internal static uint DriverAlignment(QueueConfiguration configuration) => configuration.Has(VirtioFeatures.PackedRing) ? 4u : 2u;

    /// <summary>What can be said without looking at memory.</summary>
    internal static GuestFault Check(QueueConfiguration configuration)
    {
        ushort size = configuration.Size;
        bool packed = configuration.Has(VirtioFeatures.PackedRing);
        if (size == 0 || size > Math.Min(configuration.SizeMax, VirtQueue.SizeLimit) || (!packed && (size & (size - 1)) != 0))
            return QueueFaults.Size;
        if (configuration.DescriptorTable % DescriptorLength != 0 || configuration.DriverRing % DriverAlignment(configuration) != 0
            || configuration.DeviceRing % 4 != 0)
        {
            return QueueFaults.Alignment;
        }
        if (packed && (OutsideRing(configuration.AvailBase, size) || OutsideRing(configuration.UsedBase, size))) return QueueFaults.Base;

        (ulong Start, ulong Length) table = (configuration.DescriptorTable, TableLength(size));
        (ulong Start, ulong Length) driver = (configuration.DriverRing, DriverLength(configuration));
        (ulong Start, ulong Length) device = (configuration.DeviceRing, DeviceLength(configuration));
        return Overlap(table, driver) || Overlap(table, device) || Overlap(driver, device) ? QueueFaults.Overlap : default;
    }

    /// <summary>Announces that a device will write in a ring: its own area, and in a packed ring the descriptors.</summary>
    internal static void Keep(IBeforeWrite guard, QueueConfiguration configuration)
    {
        guard.Keep(configuration.DeviceRing, DeviceLength(configuration));
        if (configuration.Has(VirtioFeatures.PackedRing)) guard.Keep(configuration.DescriptorTable, TableLength(configuration.Size));
    }

    private static ulong EventIndexLength(QueueConfiguration configuration) => configuration.Has(VirtioFeatures.EventIndex) ? 2u : 0u;

    private static bool OutsideRing(ushort? position, ushort size) => position is { } bits && (bits & 0x7fff) >= size;

    /// <summary>Right also for ranges that wrap: those are outside of memory anyway.</summary>
    private static bool Overlap((ulong Start, ulong Length) a, (ulong Start, ulong Length) b) =>
        b.Start - a.Start < a.Length || a.Start - b.Start < b.Length;
}
