namespace Vmm.Devices;

/// <summary>A bounded first-in first-out of bytes. Not thread-safe.</summary>
internal sealed class CircularBytes(int capacity)
{
    private readonly byte[] _bytes = new byte[capacity];
    private int _head;

    internal int Capacity => _bytes.Length;

    internal int Count { get; private set; }

    internal int Room => _bytes.Length - Count;

    /// <summary>Takes in as many bytes as there is room for.</summary>
    /// <returns>How many.</returns>
    internal int Write(ReadOnlySpan<byte> bytes)
    {
        int length = Math.Min(bytes.Length, Room);
        int tail = (_head + Count) % _bytes.Length;
        int first = Math.Min(length, _bytes.Length - tail);
        bytes[..first].CopyTo(_bytes.AsSpan(tail));
        bytes[first..length].CopyTo(_bytes);
        Count += length;
        return length;
    }

    /// <summary>Copies the oldest bytes and leaves them in.</summary>
    /// <returns>How many.</returns>
    internal int Peek(Span<byte> bytes)
    {
        int length = Math.Min(bytes.Length, Count);
        int first = Math.Min(length, _bytes.Length - _head);
        _bytes.AsSpan(_head, first).CopyTo(bytes);
        _bytes.AsSpan(0, length - first).CopyTo(bytes[first..]);
        return length;
    }

    /// <summary>The oldest bytes in place, as far as they lie together: empty only if there are none.</summary>
    internal ReadOnlySpan<byte> Oldest(int bytesMax) => _bytes.AsSpan(_head, Math.Min(Math.Min(Count, _bytes.Length - _head), bytesMax));

    /// <summary>Takes the oldest bytes out.</summary>
    internal void Skip(int length)
    {
        _head = (_head + length) % _bytes.Length;
        Count -= length;
    }

    /// <summary>A copy of all bytes, the oldest first.</summary>
    internal byte[] ToArray()
    {
        byte[] bytes = new byte[Count];
        Peek(bytes);
        return bytes;
    }

    /// <summary>Has these bytes in the place of those it had. There is room for them.</summary>
    internal void Refill(ReadOnlySpan<byte> bytes)
    {
        Skip(Count);
        Write(bytes);
    }

    internal bool TryTake(out byte value)
    {
        value = _bytes[_head];
        if (Count == 0) return false;
        Skip(1);
        return true;
    }
}
