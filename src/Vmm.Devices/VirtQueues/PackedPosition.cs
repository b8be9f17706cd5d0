namespace Vmm.Devices;

/// <summary>A place in a packed ring and the wrap counter that goes with it (virtio 1.2 § 2.8.1).</summary>
/// <param name="Bits">
/// Position in bits 0 to 14, wrap counter in bit 15: as in the event suppression structures and in VHOST_USER_SET_VRING_BASE.
/// </param>
internal readonly record struct PackedPosition(ushort Bits)
{
    /// <summary>The start of a fresh ring, as <see cref="Bits"/>.</summary>
    internal const ushort StartBits = WrapBit;

    private const ushort WrapBit = 0x8000;
    private const ushort FlagAvailable = 1 << 7;
    internal const ushort FlagUsed = 1 << 15;

    internal PackedPosition(ushort index, bool wrap) : this((ushort)(index | (wrap ? WrapBit : 0)))
    {
    }

    /// <summary>Entry of the ring.</summary>
    internal ushort Index => (ushort)(Bits & ~WrapBit);

    /// <summary>Flips each time the end of the ring is passed; true at the start.</summary>
    internal bool Wrap => (Bits & WrapBit) != 0;

    /// <summary>Where the flags of this entry are in the ring.</summary>
    internal ulong FlagsOffset => (ulong)Index * RingLayout.DescriptorLength + 14;

    /// <summary>The flags that make this entry available: AVAIL as the wrap counter is, USED as it is not.</summary>
    internal ushort AvailableFlags => (ushort)((Bits & WrapBit) >> 8 | (~Bits & WrapBit));

    /// <summary>The flags that make this entry used: both as the wrap counter is.</summary>
    internal ushort UsedFlags => (ushort)((Bits & WrapBit) >> 8 | (Bits & WrapBit));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool IsAvailable(ushort flags) => (flags & (FlagAvailable | FlagUsed)) == AvailableFlags;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool IsUsed(ushort flags) => (flags & (FlagAvailable | FlagUsed)) == UsedFlags;

    /// <summary>Goes on by at most the ring's size.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal PackedPosition Advance(int descriptors, ushort size)
    {
        // All bits set if the end is passed. No branch: a short ring wraps at every few chains, too often to be guessed well.
        int passed = (size - 1 - Index - descriptors) >> 31;
        return new PackedPosition((ushort)((Bits + descriptors - (size & passed)) ^ (WrapBit & passed)));
    }

    /// <summary>Goes back by at most the ring's size.</summary>
    internal PackedPosition Retreat(int descriptors, ushort size)
    {
        int next = Bits - descriptors;
        return Index >= descriptors ? new PackedPosition((ushort)next) : new PackedPosition((ushort)((next + size) ^ WrapBit));
    }

    /// <summary>
    /// Whether the other side, by its event suppression structure (read as one: position and wrap counter, then flags), wants an event when
    /// this side has moved on by some descriptors to where it is now (§ 2.8.10). It may name a position only with EVENT_IDX.
    /// </summary>
    internal static bool WantsEvent(uint suppression, bool eventIndex, PackedPosition now, int moved, ushort size)
    {
        uint flags = (suppression >> 16) & 3;
        if (flags != RingLayout.EventAtPosition || !eventIndex) return flags != RingLayout.EventDisable;
        PackedPosition wanted = new((ushort)suppression);
        // Positions of the lap before count below 0, so that one comparison does for both.
        int position = wanted.Wrap == now.Wrap ? wanted.Index : wanted.Index - size;
        return SplitQueue.Passed((ushort)position, (ushort)(now.Index - moved), now.Index);
    }
}
