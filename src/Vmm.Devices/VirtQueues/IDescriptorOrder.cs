namespace Vmm.Devices;

/// <summary>How the descriptors of a chain follow each other in their table. A structure: each has its own code of the walk.</summary>
internal interface IDescriptorOrder
{
    /// <summary>The flags, by their place in the descriptor.</summary>
    static abstract uint FlagsOf(Descriptor descriptor);

    /// <summary>Whether the chain ends with the descriptor at an index.</summary>
    static abstract bool IsLast(Descriptor descriptor, uint index, uint entries);

    /// <summary>The index of the next one; it may be outside of the table.</summary>
    static abstract uint After(Descriptor descriptor, uint index, uint entries);
}

/// <summary>A split ring's table, and its indirect ones: each descriptor names the next (virtio 1.2 § 2.7.5).</summary>
internal readonly struct SplitOrder : IDescriptorOrder
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint FlagsOf(Descriptor descriptor) => descriptor.SplitFlags;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsLast(Descriptor descriptor, uint index, uint entries) => (descriptor.SplitFlags & RingLayout.FlagNext) == 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint After(Descriptor descriptor, uint index, uint entries) => descriptor.Next;
}

/// <summary>A packed ring: one after the other, and from the end to the start (virtio 1.2 § 2.8).</summary>
internal readonly struct PackedOrder : IDescriptorOrder
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint FlagsOf(Descriptor descriptor) => descriptor.PackedFlags;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsLast(Descriptor descriptor, uint index, uint entries) => (descriptor.PackedFlags & RingLayout.FlagNext) == 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint After(Descriptor descriptor, uint index, uint entries) => index + 1 == entries ? 0 : index + 1;
}

/// <summary>A packed ring's indirect table: all of it in order; there is no NEXT flag (virtio 1.2 § 2.8.7).</summary>
internal readonly struct PackedTableOrder : IDescriptorOrder
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint FlagsOf(Descriptor descriptor) => descriptor.PackedFlags;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsLast(Descriptor descriptor, uint index, uint entries) => index + 1 == entries;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint After(Descriptor descriptor, uint index, uint entries) => index + 1;
}
