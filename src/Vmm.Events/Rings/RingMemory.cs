using System.Runtime.CompilerServices;
using Vmm.Events.Buffers;
using Vmm.Events.Native;

namespace Vmm.Events.Rings;

/// <summary>
/// Memory whose pages the kernel keeps for a ring (IORING_REGISTER_BUFFERS2, io_uring_register(2)), so that a transfer between it and a
/// file does not look for them. Used on the reactor's thread.
/// </summary>
/// <remarks>
/// Kept are the pages that are behind the addresses when the memory is added. When others take their place (madvise(2), mmap(2)), a
/// transfer still goes to those that were there: the memory must not be given back or mapped anew before this is disposed.
/// </remarks>
public sealed class RingMemory : IDisposable
{
    /// <summary>The longest buffer that the kernel takes is 1 GiB.</summary>
    private const int SlotShift = 30;

    private readonly IoRing _ring;
    private readonly bool _takesLists;
    private Range[] _ranges = [];

    internal RingMemory(IoRing ring, bool takesLists)
    {
        _ring = ring;
        _takesLists = takesLists;
    }

    /// <summary>
    /// Adds memory. All of its pages get memory now, which takes its time, and counts against RLIMIT_MEMLOCK, once for each ring.
    /// </summary>
    /// <param name="address">The first byte, of a page.</param>
    /// <param name="length">Bytes, 1 or more.</param>
    /// <returns>
    /// Why not, and nothing is added: <see cref="Errno.NoMemory"/> beyond RLIMIT_MEMLOCK, <see cref="Errno.NoSpace"/> beyond
    /// <see cref="RingOptions.BuffersMax"/> pieces of 1 GiB, <see cref="Errno.NotSupported"/> where threads stand in for the kernel's
    /// ring, or of memory that is a file's on a disk.
    /// </returns>
    /// <exception cref="ObjectDisposedException">The ring is closed.</exception>
    public unsafe Errno Add(void* address, nuint length)
    {
        ArgumentOutOfRangeException.ThrowIfZero(length);
        _ring.CheckUsable();
        int[] slots = new int[(length - 1 >> SlotShift) + 1];
        for (int i = 0; i < slots.Length; i++)
        {
            nuint offset = (nuint)i << SlotShift;
            int bytes = (int)Math.Min(length - offset, 1u << SlotShift);
            Errno errno = _ring.Buffers.Add((nint)address + (nint)offset, bytes, out slots[i]);
            if (errno == Errno.None) continue;
            Remove(slots.AsSpan(0, i));
            return errno;
        }
        _ranges = [.. _ranges, new Range((nuint)address, length, slots)];
        return Errno.None;
    }

    /// <summary>
    /// The kernel lets go of the pages. No operation that was begun with this is in flight: one that the kernel does not have yet would
    /// fail.
    /// </summary>
    public void Dispose()
    {
        if (_ring.IsOpen)
        {
            foreach (Range range in _ranges) Remove(range.Slots);
        }
        _ranges = [];
    }

    /// <summary>Has a transfer use the kept pages, if all of its memory is in one slot.</summary>
    internal void UseFor(ref IoUringEntry entry, IoVectors vectors)
    {
        int slot = SlotOf(vectors);
        if (slot < 0) return;
        entry.BufferIndex = (ushort)slot;
        entry.Op = entry.Op switch
        {
            IoUringOp.Read => IoUringOp.ReadFixed,
            IoUringOp.Write => IoUringOp.WriteFixed,
            IoUringOp.ReadV => IoUringOp.ReadVFixed,
            _ => IoUringOp.WriteVFixed,
        };
    }

    private int SlotOf(IoVectors vectors)
    {
        int slot = SlotOf(vectors.First);
        if (vectors.Count == 1) return slot;
        if (!_takesLists) return -1;
        for (int i = 1; i < vectors.Count && slot >= 0; i++)
        {
            if (SlotOf(vectors[i]) != slot) return -1;
        }
        return slot;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private int SlotOf(in IoVec piece)
    {
        foreach (ref readonly Range range in _ranges.AsSpan())
        {
            nuint offset = (nuint)piece.Address - range.Start;
            nuint length = (nuint)piece.Length;
            if (offset >= range.Length || length == 0 || length > range.Length - offset) continue;
            nuint first = offset >> SlotShift;
            return first == offset + length - 1 >> SlotShift ? range.Slots[first] : -1;
        }
        return -1;
    }

    private void Remove(ReadOnlySpan<int> slots)
    {
        foreach (int slot in slots) _ring.Buffers.Remove(slot);
    }

    /// <summary>Memory that is together, in slots of 1 GiB.</summary>
    private readonly struct Range(nuint start, nuint length, int[] slots)
    {
        internal readonly nuint Start = start;
        internal readonly nuint Length = length;
        internal readonly int[] Slots = slots;
    }
}
