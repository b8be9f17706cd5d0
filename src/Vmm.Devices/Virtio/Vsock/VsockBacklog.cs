using System.Buffers;

namespace Vmm.Devices;

/// <summary>
/// Bytes of the guest that the host side has not taken: a ring whose memory is there only while there are any. Its owner holds the guest to
/// the bound, which is the credit it was given.
/// </summary>
internal sealed class VsockBacklog
{
    private byte[]? _bytes;
    private int _head;

    internal int Count { get; private set; }

    /// <summary>The bytes in order: the second part is not empty if they go round the end.</summary>
    internal (ReadOnlyMemory<byte> First, ReadOnlyMemory<byte> Second) Parts(int length)
    {
        if (_bytes is null) return default;
        int first = Math.Min(length, _bytes.Length - _head);
        return (_bytes.AsMemory(_head, first), _bytes.AsMemory(0, length - first));
    }

    /// <summary>A copy of the oldest bytes, in order.</summary>
    internal byte[] ToArray(int length)
    {
        (ReadOnlyMemory<byte> first, ReadOnlyMemory<byte> second) = Parts(length);
        byte[] copy = new byte[length];
        first.CopyTo(copy);
        second.CopyTo(copy.AsMemory(first.Length));
        return copy;
    }

    /// <summary>Takes a part of a packet in.</summary>
    /// <param name="reader">At the first of the bytes.</param>
    /// <param name="length">How many; with those that are in, at most the capacity.</param>
    /// <param name="capacity">Most bytes this may ever hold, the same until it is empty.</param>
    internal void Append(ref ChainReader reader, int length, int capacity)
    {
        if (length == 0) return;
        Span<byte> first = Extend(length, capacity, out Span<byte> second);
        reader.TryRead(first);
        reader.TryRead(second);
    }

    /// <summary>Takes in what another one holds.</summary>
    internal void Append(VsockBacklog other, int capacity)
    {
        foreach (ReadOnlyMemory<byte> part in (ReadOnlySpan<ReadOnlyMemory<byte>>)[other.Parts(other.Count)
            .First, other.Parts(other.Count).Second])
        {
            if (part.IsEmpty) continue;
            Span<byte> first = Extend(part.Length, capacity, out Span<byte> second);
            part.Span[..first.Length].CopyTo(first);
            part.Span[first.Length..].CopyTo(second);
        }
    }

    /// <summary>Lets the oldest bytes go.</summary>
    internal void Skip(int length)
    {
        if (length == 0) return;
        Count -= length;
        _head += length;
        if (_head >= _bytes!.Length) _head -= _bytes.Length;
        if (Count == 0) Clear();
    }

    internal void Clear()
    {
        if (_bytes is not null) ArrayPool<byte>.Shared.Return(_bytes);
        _bytes = null;
        _head = Count = 0;
    }

    /// <summary>Room for more bytes behind those that are in.</summary>
    private Span<byte> Extend(int length, int capacity, out Span<byte> second)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, capacity - Count);
        _bytes ??= ArrayPool<byte>.Shared.Rent(capacity);
        int tail = _head + Count;
        if (tail >= _bytes.Length) tail -= _bytes.Length;
        int first = Math.Min(length, _bytes.Length - tail);
        second = _bytes.AsSpan(0, length - first);
        Count += length;
        return _bytes.AsSpan(tail, first);
    }
}
