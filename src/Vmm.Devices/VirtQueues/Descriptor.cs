namespace Vmm.Devices;

/// <summary>
/// A descriptor as the ring has it, read once: struct virtq_desc (virtio 1.2 § 2.7.5) and, with other last fields, struct pvirtq_desc (§
/// 2.8.13).
/// </summary>
/// <param name="Address">Guest address of the buffer.</param>
/// <param name="Tail">Length in bits 0 to 31; then split: flags, next; packed: buffer id, flags.</param>
internal readonly record struct Descriptor(ulong Address, ulong Tail)
{
    internal uint Length => (uint)Tail;

    internal ushort SplitFlags => (ushort)(Tail >> 32);

    internal ushort Next => (ushort)(Tail >> 48);

    internal ushort BufferId => (ushort)(Tail >> 32);

    internal ushort PackedFlags => (ushort)(Tail >> 48);

    /// <summary>Reads entry <paramref name="index"/> of a table: two loads, each field exactly once.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Descriptor Load(in GuestWindow table, uint index)
    {
        ulong offset = (ulong)index * RingLayout.DescriptorLength;
        // The half with a packed ring's flags first: they say whether the address is valid.
        ulong tail = table.Load64(offset + 8);
        return new Descriptor(table.Load64(offset), tail);
    }
}
