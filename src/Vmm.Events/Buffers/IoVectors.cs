using System.Runtime.InteropServices;
using Vmm.Events.Native;

namespace Vmm.Events.Buffers;

/// <summary>
/// A list of pieces of memory for one vectored operation (struct iovec of readv(2)), at an address that does not move. Made once, filled
/// anew for each operation. It holds no memory alive: that is its user's duty, until the operation is over.
/// </summary>
public sealed class IoVectors
{
    /// <summary>Most pieces of one operation (IOV_MAX).</summary>
    public const int CountMax = 1024;

    private readonly IoVec[] _vectors;
    private int _first;
    private int _end;

    /// <summary>Makes an empty list.</summary>
    /// <param name="capacity">Most pieces, 1 to <see cref="CountMax"/>.</param>
    public IoVectors(int capacity)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(capacity, CountMax);
        _vectors = GC.AllocateArray<IoVec>(capacity, pinned: true);
    }

    /// <summary>Pieces that are left.</summary>
    public int Count => _end - _first;

    /// <summary>Most pieces.</summary>
    public int Capacity => _vectors.Length;

    /// <summary>Bytes of all pieces that are left.</summary>
    public long Bytes { get; private set; }

    /// <summary>Where the first piece that is left stands.</summary>
    internal nint Address => Marshal.UnsafeAddrOfPinnedArrayElement(_vectors, _first);

    /// <summary>The first piece that is left.</summary>
    internal IoVec First => _vectors[_first];

    /// <summary>Forgets the pieces.</summary>
    public void Clear()
    {
        _first = _end = 0;
        Bytes = 0;
    }

    /// <summary>
    /// Adds memory by its address: memory that does not move and outlives the operation, such as mapped memory of a guest, never an array.
    /// Only unsafe code can name it, because nothing here can check it.
    /// </summary>
    /// <param name="address">The first byte.</param>
    /// <param name="length">Bytes, 0 or more.</param>
    /// <exception cref="ArgumentOutOfRangeException">The length is negative.</exception>
    /// <exception cref="InvalidOperationException">The list is full.</exception>
    public unsafe void Add(void* address, nint length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        Add((nint)address, length);
    }

    /// <summary>Adds a piece of memory that the caller holds until the operation is over: a lent buffer, say.</summary>
    internal void Add(nint address, nint length)
    {
        if (_end == _vectors.Length) throw new InvalidOperationException($"the list has room for {_vectors.Length} pieces");
        _vectors[_end++] = new IoVec { Address = address, Length = length };
        Bytes += length;
    }

    /// <summary>Drops bytes from the front: what a short read or write has done already.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There are fewer.</exception>
    public void Advance(long bytes)
    {
        if (bytes < 0 || bytes > Bytes) throw new ArgumentOutOfRangeException(nameof(bytes), bytes, $"{Bytes} bytes are left");
        Bytes -= bytes;
        while (bytes > 0 || (_first < _end && _vectors[_first].Length == 0))
        {
            ref IoVec first = ref _vectors[_first];
            nint step = (nint)Math.Min(bytes, first.Length);
            first.Address += step;
            first.Length -= step;
            bytes -= step;
            if (first.Length == 0) _first++;
        }
    }
}
