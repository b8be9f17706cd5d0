namespace Vmm.Devices;

/// <summary>
/// Writes the device-writable part of a chain from its start to its end, wherever the driver cut it. Valid while the chain is in flight.
/// </summary>
public ref struct ChainWriter
{
    private ChainCursor _cursor;

    internal ChainWriter(ReadOnlySpan<GuestSpan> segments, ulong length) : this(new ChainCursor(segments, length))
    {
    }

    private ChainWriter(ChainCursor cursor) => _cursor = cursor;

    /// <summary>Room left, in bytes.</summary>
    public readonly ulong Remaining => _cursor.Remaining;

    /// <summary>Writes a little-endian structure.</summary>
    /// <returns>False, and nothing is written, if there is less room.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryWrite<T>(in T value) where T : unmanaged
    {
        int size = Unsafe.SizeOf<T>();
        Span<byte> together = _cursor.Peek((ulong)size);
        if (together.Length == size)
        {
            MemoryMarshal.Write(together, in value);
            _cursor.Advance((ulong)size);
            return true;
        }
        return TryWrite(MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));
    }

    /// <summary>Writes a whole span.</summary>
    /// <returns>False, and nothing is written, if there is less room.</returns>
    public bool TryWrite(scoped ReadOnlySpan<byte> source)
    {
        if (Remaining < (ulong)source.Length) return false;
        CopyFrom(source);
        return true;
    }

    /// <summary>Writes as much of a span as there is room for.</summary>
    /// <returns>Bytes written.</returns>
    public int CopyFrom(scoped ReadOnlySpan<byte> source)
    {
        int done = 0;
        while (done < source.Length && Remaining > 0)
        {
            Span<byte> piece = _cursor.Next((ulong)(source.Length - done));
            source.Slice(done, piece.Length).CopyTo(piece);
            done += piece.Length;
        }
        return done;
    }

    /// <summary>Takes the next bytes that lie together, to be written in place.</summary>
    /// <param name="span">Not empty if this returns true.</param>
    /// <param name="bytesMax">Takes at most this many.</param>
    /// <returns>False at the end of the part.</returns>
    public bool TryNext(out Span<byte> span, ulong bytesMax = ulong.MaxValue)
    {
        span = _cursor.Next(bytesMax);
        return !span.IsEmpty;
    }

    /// <summary>Passes bytes.</summary>
    /// <returns>False, and none are passed, if there is less room.</returns>
    public bool TrySkip(ulong bytes)
    {
        if (bytes > Remaining) return false;
        _cursor.Advance(bytes);
        return true;
    }

    /// <summary>Takes the next bytes as a part of its own.</summary>
    /// <returns>False, and none are taken, if fewer remain.</returns>
    public bool TryTake(ulong bytes, out ChainWriter part)
    {
        part = default;
        if (bytes > Remaining) return false;
        part = new ChainWriter(_cursor.Take(bytes));
        _cursor.Advance(bytes);
        return true;
    }

    /// <summary>Cuts the last bytes off as a part of its own, such as a status: this writer ends before them.</summary>
    /// <returns>False, and none are cut off, if fewer remain.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryCutLast(ulong bytes, out ChainWriter last)
    {
        last = default;
        if (bytes > Remaining) return false;
        last = new ChainWriter(_cursor.CutLast(bytes));
        return true;
    }

    /// <summary>Describes a range after the position for the kernel, as for readv(2). Writes nothing.</summary>
    /// <param name="vectors">Filled from the start.</param>
    /// <param name="skip">Bytes between the position and the range.</param>
    /// <param name="length">Bytes of the range.</param>
    /// <param name="described">Bytes the vectors cover: fewer than asked for if the vectors or the part end before.</param>
    /// <returns>Vectors filled. They are valid until the chain is pushed.</returns>
    public readonly int FillVectors(scoped Span<IoVector> vectors, ulong skip, ulong length, out ulong described) =>
        _cursor.FillVectors(vectors, skip, length, out described);
}
