namespace Vmm.Devices;

/// <summary>A position in one part of a chain, and how much of it is left. What readers and writers share.</summary>
internal ref struct ChainCursor
{
    /// <summary>Longest span given out at once: spans are counted in <see cref="int"/>, guest buffers are not.</summary>
    private const int SpanMax = 1 << 30;

    private ReadOnlySpan<GuestSpan> _segments;
    private nuint _offset;

    internal ChainCursor(ReadOnlySpan<GuestSpan> segments, ulong length)
    {
        _segments = segments;
        _offset = 0;
        Remaining = length;
    }

    internal ulong Remaining { get; private set; }

    /// <summary>The bytes that lie together at the position, at most as many as asked for, not passed yet.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal readonly Span<byte> Peek(ulong bytesMax)
    {
        ulong wanted = Math.Min(bytesMax, Remaining);
        if (wanted == 0) return default;
        IoVector segment = _segments[0].Vector;
        int length = (int)Math.Min(Math.Min(wanted, segment.Length - _offset), SpanMax);
        return segment.Slice(_offset, length);
    }

    /// <inheritdoc cref="IoVector.Prefetch"/>
    internal readonly void Prefetch()
    {
        if (Remaining > 0) _segments[0].Vector.Prefetch(_offset);
    }

    /// <summary>Passes bytes; no more than remain.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Advance(ulong bytes)
    {
        Remaining -= bytes;
        while (bytes > 0)
        {
            ulong here = _segments[0].Length - _offset;
            if (bytes < here)
            {
                _offset += (nuint)bytes;
                return;
            }
            bytes -= here;
            _segments = _segments[1..];
            _offset = 0;
        }
    }

    /// <summary>Takes the next bytes that lie together.</summary>
    internal Span<byte> Next(ulong bytesMax)
    {
        Span<byte> span = Peek(bytesMax);
        Advance((ulong)span.Length);
        return span;
    }

    /// <summary>Cuts the last bytes off: this ends before them, the result starts at them. No more than remain.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ChainCursor CutLast(ulong bytes)
    {
        ChainCursor last = this;
        last.Advance(Remaining - bytes);
        Remaining -= bytes;
        return last;
    }

    /// <summary>A cursor over the next bytes; no more than remain.</summary>
    internal readonly ChainCursor Take(ulong bytes)
    {
        ChainCursor part = this;
        part.Remaining = bytes;
        return part;
    }

    /// <summary>Describes a range after the position as vectors for the kernel: see <see cref="ChainReader.FillVectors"/>.</summary>
    internal readonly int FillVectors(scoped Span<IoVector> vectors, ulong skip, ulong length, out ulong described)
    {
        described = 0;
        if (skip >= Remaining) return 0;
        ulong left = Math.Min(length, Remaining - skip);
        ulong before = skip + _offset;
        int filled = 0;
        foreach (ref readonly GuestSpan segment in _segments)
        {
            if (left == 0 || filled == vectors.Length) break;
            if (before >= segment.Length)
            {
                before -= segment.Length;
                continue;
            }
            ulong piece = Math.Min(left, segment.Length - before);
            vectors[filled++] = new IoVector(segment.Host + (nint)before, (nuint)piece);
            left -= piece;
            described += piece;
            before = 0;
        }
        return filled;
    }
}
