namespace Vmm.Events.Buffers;

/// <summary>
/// A list of pieces of memory for one vectored operation (struct iovec of readv(2)), at an address that does not move. Made once, filled
/// anew for each operation. It holds no memory alive: that is its user's duty, until the operation is over.
/// </summary>
public sealed unsafe class IoVectors
{
    /// <summary>Most pieces of one operation (IOV_MAX).</summary>
    public const int CountMax = 1024;

    private readonly IoVec[] _own;
    /// <summary>The pieces: the list's own, pinned, or those that it stands for.</summary>
    private IoVec* _vectors;
    private int _first;
    private int _end;
    private int _room;

    /// <summary>Makes an empty list.</summary>
    /// <param name="capacity">Most pieces, 1 to <see cref="CountMax"/>.</param>
    public IoVectors(int capacity)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(capacity, CountMax);
        _own = GC.AllocateArray<IoVec>(capacity, pinned: true);
        Clear();
    }

    /// <summary>Pieces that are left.</summary>
    public int Count => _end - _first;

    /// <summary>Most pieces.</summary>
    public int Capacity => _own.Length;

    /// <summary>Bytes of all pieces that are left.</summary>
    public long Bytes { get; private set; }

    /// <summary>Where the first piece that is left stands.</summary>
    internal nint Address => (nint)(_vectors + _first);

    /// <summary>The first piece that is left.</summary>
    internal IoVec First => _vectors[_first];

    /// <summary>One of the pieces that are left.</summary>
    internal ref readonly IoVec this[int index] => ref _vectors[_first + index];

    /// <summary>Forgets the pieces.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Clear()
    {
        // SAFETY: the array is pinned, and lives as long as this.
        _vectors = (IoVec*)Marshal.UnsafeAddrOfPinnedArrayElement(_own, 0);
        (_first, _end, _room, Bytes) = (0, 0, _own.Length, 0);
    }

    /// <summary>
    /// Stands for a list that is elsewhere, in place of pieces of its own: nothing is copied. Until <see cref="Clear"/>; the list must not
    /// move meanwhile. Only unsafe code can name it, because nothing here can check it.
    /// </summary>
    /// <param name="list">The first of them, each a struct iovec.</param>
    /// <param name="count">Pieces, 0 to <see cref="CountMax"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException">There are more.</exception>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Use(void* list, int count)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)count, (uint)CountMax, nameof(count));
        _vectors = (IoVec*)list;
        (_first, _end, _room, Bytes) = (0, count, 0, 0);
        // SAFETY: the caller vouches for the list.
        for (int i = 0; i < count; i++) Bytes += _vectors[i].Length;
    }

    /// <summary>
    /// Adds memory by its address: memory that does not move and outlives the operation, such as mapped memory of a guest, never an array.
    /// Only unsafe code can name it, because nothing here can check it.
    /// </summary>
    /// <param name="address">The first byte.</param>
    /// <param name="length">Bytes, 0 or more.</param>
    /// <exception cref="ArgumentOutOfRangeException">The length is negative.</exception>
    /// <exception cref="InvalidOperationException">The list is full, or stands for another one.</exception>
    public void Add(void* address, nint length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        Add((nint)address, length);
    }

    /// <summary>Adds a piece of memory that the caller holds until the operation is over: a lent buffer, say.</summary>
    internal void Add(nint address, nint length)
    {
        if (_end >= _room) throw new InvalidOperationException($"the list has room for {_room} pieces");
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
