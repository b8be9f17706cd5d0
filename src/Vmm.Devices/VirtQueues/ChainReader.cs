namespace Vmm.Devices;

/// <summary>
/// Reads the device-readable part of a chain from its start to its end, wherever the driver cut it. What it copied out the guest can't
/// change any more; bytes seen in place it can. Valid while the chain is in flight.
/// </summary>
public ref struct ChainReader
{
    private ChainCursor _cursor;

    internal ChainReader(ReadOnlySpan<GuestSpan> segments, ulong length) : this(new ChainCursor(segments, length))
    {
    }

    private ChainReader(ChainCursor cursor) => _cursor = cursor;

    /// <summary>Bytes not read yet.</summary>
    public readonly ulong Remaining => _cursor.Remaining;

    /// <summary>Has the processor fetch the next bytes, which are needed soon: see <see cref="IoVector.Prefetch"/>.</summary>
    internal readonly void Prefetch() => _cursor.Prefetch();

    /// <summary>Reads a little-endian structure.</summary>
    /// <returns>False, and nothing is read, if fewer bytes remain.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryRead<T>(out T value) where T : unmanaged
    {
        int size = Unsafe.SizeOf<T>();
        ReadOnlySpan<byte> together = _cursor.Peek((ulong)size);
        if (together.Length == size)
        {
            value = MemoryMarshal.Read<T>(together);
            _cursor.Advance((ulong)size);
            return true;
        }
        value = default;
        return TryRead(MemoryMarshal.AsBytes(new Span<T>(ref value)));
    }

    /// <summary>Fills a span.</summary>
    /// <returns>False, and nothing is read, if fewer bytes remain.</returns>
    public bool TryRead(scoped Span<byte> destination)
    {
        if (Remaining < (ulong)destination.Length) return false;
        CopyTo(destination);
        return true;
    }

    /// <summary>Reads up to a span's length.</summary>
    /// <returns>Bytes read: fewer only at the end of the part.</returns>
    public int CopyTo(scoped Span<byte> destination)
    {
        int done = 0;
        while (done < destination.Length && Remaining > 0)
        {
            Span<byte> piece = _cursor.Next((ulong)(destination.Length - done));
            piece.CopyTo(destination[done..]);
            done += piece.Length;
        }
        return done;
    }

    /// <summary>Takes the next bytes that lie together, in place.</summary>
    /// <param name="span">Not empty if this returns true. The guest can change the bytes at any time.</param>
    /// <param name="bytesMax">Takes at most this many.</param>
    /// <returns>False at the end of the part.</returns>
    public bool TryNext(out ReadOnlySpan<byte> span, ulong bytesMax = ulong.MaxValue)
    {
        span = _cursor.Next(bytesMax);
        return !span.IsEmpty;
    }

    /// <summary>Passes bytes.</summary>
    /// <returns>False, and none are passed, if fewer remain.</returns>
    public bool TrySkip(ulong bytes)
    {
        if (bytes > Remaining) return false;
        _cursor.Advance(bytes);
        return true;
    }

    /// <summary>Takes the next bytes as a part of its own.</summary>
    /// <returns>False, and none are taken, if fewer remain.</returns>
    public bool TryTake(ulong bytes, out ChainReader part)
    {
        part = default;
        if (bytes > Remaining) return false;
        part = new ChainReader(_cursor.Take(bytes));
        _cursor.Advance(bytes);
        return true;
    }

    /// <summary>Cuts the last bytes off as a part of its own: this reader ends before them.</summary>
    /// <returns>False, and none are cut off, if fewer remain.</returns>
    public bool TryCutLast(ulong bytes, out ChainReader last)
    {
        last = default;
        if (bytes > Remaining) return false;
        last = new ChainReader(_cursor.CutLast(bytes));
        return true;
    }

    /// <summary>Describes a range after the position for the kernel, as for writev(2). Reads nothing.</summary>
    /// <param name="vectors">Filled from the start.</param>
    /// <param name="skip">Bytes between the position and the range.</param>
    /// <param name="length">Bytes of the range.</param>
    /// <param name="described">Bytes the vectors cover: fewer than asked for if the vectors or the part end before.</param>
    /// <returns>Vectors filled. They are valid until the chain is pushed.</returns>
    public readonly int FillVectors(scoped Span<IoVector> vectors, ulong skip, ulong length, out ulong described) =>
        _cursor.FillVectors(vectors, skip, length, out described);
}
