using System.Runtime.CompilerServices;

namespace Vmm.Devices;

/// <summary>A place in a packed ring and the wrap counter that goes with it (virtio 1.2 § 2.8.1).</summary>
/// <param name="Index">Entry of the ring.</param>
/// <param name="Wrap">Flips each time the end of the ring is passed; true at the start.</param>
internal readonly record struct PackedPosition(ushort Index, bool Wrap)
{
    /// <summary>The start of a fresh ring, as <see cref="Bits"/>.</summary>
    internal const ushort StartBits = WrapBit;

    private const ushort WrapBit = 0x8000;
    private const ushort FlagAvailable = 1 << 7;
    internal const ushort FlagUsed = 1 << 15;

    /// <summary>
    /// Position in bits 0 to 14, wrap counter in bit 15: as in the event suppression structures and in VHOST_USER_SET_VRING_BASE.
    /// </summary>
    internal ushort Bits => (ushort)(Index | (Wrap ? WrapBit : 0));

    /// <summary>Where the flags of this entry are in the ring.</summary>
    internal ulong FlagsOffset => (ulong)Index * RingLayout.DescriptorLength + 14;

    /// <summary>The flags that make this entry available.</summary>
    internal ushort AvailableFlags => Wrap ? FlagAvailable : FlagUsed;

    /// <summary>The flags that make this entry used.</summary>
    internal ushort UsedFlags => Wrap ? (ushort)(FlagAvailable | FlagUsed) : (ushort)0;

    internal static PackedPosition FromBits(ushort bits) => new((ushort)(bits & ~WrapBit), (bits & WrapBit) != 0);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool IsAvailable(ushort flags) => (flags & (FlagAvailable | FlagUsed)) == AvailableFlags;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool IsUsed(ushort flags) => (flags & (FlagAvailable | FlagUsed)) == UsedFlags;

    /// <summary>Goes on by at most the ring's size.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal PackedPosition Advance(int descriptors, ushort size)
    {
        int index = Index + descriptors;
        return index < size ? new PackedPosition((ushort)index, Wrap) : new PackedPosition((ushort)(index - size), !Wrap);
    }

    /// <summary>Goes back by at most the ring's size.</summary>
    internal PackedPosition Retreat(int descriptors, ushort size)
    {
        int index = Index - descriptors;
        return index >= 0 ? new PackedPosition((ushort)index, Wrap) : new PackedPosition((ushort)(index + size), !Wrap);
    }

    /// <summary>Whether the other side wants an event when this side moves on (§ 2.8.10).</summary>
    /// <param name="suppression">Its event suppression structure, read as one: position and wrap counter, then flags.</param>
    /// <param name="eventIndex">Whether it may name a position.</param>
    /// <param name="now">Where this side is now.</param>
    /// <param name="moved">Descriptors it moved on by.</param>
    /// <param name="size">Entries of the ring.</param>
    internal static bool WantsEvent(uint suppression, bool eventIndex, PackedPosition now, int moved, ushort size)
    {
        uint flags = (suppression >> 16) & 3;
        if (flags != RingLayout.EventAtPosition || !eventIndex) return flags != RingLayout.EventDisable;
        PackedPosition wanted = FromBits((ushort)suppression);
        // Positions of the lap before count below 0, so that one comparison does for both.
        int position = wanted.Wrap == now.Wrap ? wanted.Index : wanted.Index - size;
        return SplitQueue.Passed((ushort)position, (ushort)(now.Index - moved), now.Index);
    }
}
