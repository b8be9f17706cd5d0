using System.Runtime.Intrinsics.X86;
using Vmm.Events.Buffers;

namespace Vmm.Devices;

/// <summary>
/// A piece of guest memory at its host address, as the kernel takes it: struct iovec of readv(2) and io_uring(7). Valid while the chain or
/// the <see cref="MemoryHold"/> it came from is held.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public readonly unsafe struct IoVector
{
    private const int CacheLineBytes = 64;

    internal IoVector(nint address, nuint length)
    {
        Address = address;
        Length = length;
    }

    /// <summary>The host address.</summary>
    public nint Address { get; }

    /// <summary>The number of bytes.</summary>
    public nuint Length { get; }

    /// <summary>A piece of mapped memory that is no guest's: a buffer of our own.</summary>
    internal static IoVector Over(Span<byte> unmoving) =>
        // SAFETY: only the number is kept; that the bytes stay where they are is the caller's promise.
        new((nint)Unsafe.AsPointer(ref MemoryMarshal.GetReference(unmoving)),
            (nuint)unmoving.Length);

    /// <summary>
    /// Adds the piece to a list for a vectored operation of a ring. What holds the piece holds it until the operation is over.
    /// </summary>
    /// <exception cref="InvalidOperationException">The list is full.</exception>
    public void AddTo(IoVectors list)
    {
        ArgumentNullException.ThrowIfNull(list);
        // SAFETY: pieces are made from checked translations and from memory of our own that does not move.
        list.Add((void*)Address, (nint)Length);
    }

    /// <summary>Has a list stand for pieces of a pinned array, which are not copied: see <see cref="IoVectors.Use"/>.</summary>
    internal static void Lend(IoVector[] pinned, int first, int count, IoVectors list)
    {
        // SAFETY: an IoVector is struct iovec, the array does not move, and the part is checked against it.
        list.Use(Unsafe.AsPointer(ref MemoryMarshal.GetReference(pinned.AsSpan(first, count))), count);
    }

    /// <summary>Has the processor fetch two of its lines from an offset on: a header and a short frame.</summary>
    internal void Prefetch(nuint offset)
    {
        if (!Sse.IsSupported) return;
        byte* next = (byte*)Address + offset;
        // SAFETY: a hint that reads nothing and never faults, whatever the address.
        Sse.Prefetch0(next);
        Sse.Prefetch0(next + CacheLineBytes);
    }

    /// <summary>The bytes from an offset on, or as many of them as a span holds: a driver may describe more in one buffer.</summary>
    internal Span<byte> PieceAt(nuint offset) => Slice(offset, (int)Math.Min(Length - offset, int.MaxValue));

    /// <summary>A part of the piece; the caller has checked that it lies inside.</summary>
    internal Span<byte> Slice(nuint offset, int length)
    {
        System.Diagnostics.Debug.Assert(offset <= Length && (nuint)length <= Length - offset, "outside of the piece");
        // SAFETY: vectors are made from checked translations only, the mapping is held by the object that made the vector, and the part
        // lies inside.
        return new Span<byte>((byte*)Address + offset, length);
    }
}
