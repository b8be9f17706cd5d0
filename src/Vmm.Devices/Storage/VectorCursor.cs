namespace Vmm.Devices;

/// <summary>
/// Finds the bytes of a request in the buffers of its operation. It remembers where it was last: the parts of a request mostly follow
/// each other, and a driver may cut a request into very many buffers.
/// </summary>
internal struct VectorCursor
{
    private int _index;
    private ulong _start;

    /// <summary>Describes a part of the buffers.</summary>
    /// <param name="buffers">The operation's buffers, as they were since the request began.</param>
    /// <param name="offset">From where on; the part lies inside.</param>
    /// <param name="length">How many bytes.</param>
    /// <param name="vectors">Filled from the start.</param>
    /// <param name="described">As many bytes as had room.</param>
    /// <returns>Vectors filled.</returns>
    internal int Describe(ReadOnlySpan<IoVector> buffers, ulong offset, ulong length, Span<IoVector> vectors, out ulong described)
    {
        described = 0;
        int count = 0;
        for (; described < length && count < vectors.Length; count++)
        {
            nuint within = Find(buffers, offset + described);
            IoVector buffer = buffers[_index];
            nuint bytes = (nuint)Math.Min(buffer.Length - within, length - described);
            vectors[count] = new IoVector(buffer.Address + (nint)within, bytes);
            described += bytes;
        }
        return count;
    }

    /// <summary>Stores bytes into a part of the buffers, or zeroes it.</summary>
    /// <param name="buffers">As for <see cref="Describe"/>.</param>
    /// <param name="offset">From where on; the part lies inside.</param>
    /// <param name="bytes">The bytes; empty for zeroes.</param>
    /// <param name="length">How many.</param>
    internal void Store(ReadOnlySpan<IoVector> buffers, ulong offset, ReadOnlySpan<byte> bytes, ulong length)
    {
        for (ulong done = 0; done < length;)
        {
            Span<byte> place = At(buffers, offset + done, length - done);
            if (bytes.IsEmpty) place.Clear(); else bytes.Slice((int)done, place.Length).CopyTo(place);
            done += (ulong)place.Length;
        }
    }

    /// <summary>Takes the first bytes out of the buffers.</summary>
    internal void Load(ReadOnlySpan<IoVector> buffers, Span<byte> bytes)
    {
        for (int done = 0; done < bytes.Length;)
        {
            Span<byte> place = At(buffers, (ulong)done, (ulong)(bytes.Length - done));
            place.CopyTo(bytes[done..]);
            done += place.Length;
        }
    }

    private Span<byte> At(ReadOnlySpan<IoVector> buffers, ulong offset, ulong length)
    {
        nuint within = Find(buffers, offset);
        IoVector buffer = buffers[_index];
        return buffer.Slice(within, (int)Math.Min(Math.Min(buffer.Length - within, length), int.MaxValue));
    }

    /// <summary>Goes to the buffer that holds an offset.</summary>
    /// <returns>The offset in that buffer.</returns>
    private nuint Find(ReadOnlySpan<IoVector> buffers, ulong offset)
    {
        if (offset < _start || _index >= buffers.Length) (_index, _start) = (0, 0);
        while (offset - _start >= buffers[_index].Length) _start += buffers[_index++].Length;
        return (nuint)(offset - _start);
    }
}
