using System.Diagnostics;

namespace Vmm.Events;

/// <summary>
/// The 64 bits the kernel keeps for us with each watched descriptor: the address of a slot in the low 48 bits, the slot's generation
/// in the high 16. User space addresses of x86-64 Linux fit in 47 bits unless a mapping asks for more, which the runtime does not.
/// </summary>
internal static unsafe class ThinPointer
{
    private const int GenerationShift = 48;
    private const ulong AddressMask = (1UL << GenerationShift) - 1;

    /// <summary>The thin pointer of a slot that lives on the pinned object heap.</summary>
    internal static ulong To(ref Slot slot)
    {
        // SAFETY: slots live in pinned arrays that their table keeps alive: the address does not move, only the number is kept.
        ulong address = (ulong)Unsafe.AsPointer(ref slot);
        Debug.Assert((address & ~AddressMask) == 0, "a user-space address beyond 48 bits");
        return address | ((ulong)slot.Generation << GenerationShift);
    }

    /// <summary>The slot behind a thin pointer that <see cref="To"/> made and a poller handed back.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static ref Slot Resolve(ulong data)
    {
        // SAFETY: slots are never freed while their reactor lives, so even a stale pointer names a slot; the generation says whether it is
        // the same subscription.
        return ref Unsafe.AsRef<Slot>((void*)(data & AddressMask));
    }

    /// <summary>The generation a thin pointer was made with.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static ushort GenerationOf(ulong data) => (ushort)(data >> GenerationShift);
}
