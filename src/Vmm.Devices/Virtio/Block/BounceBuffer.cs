using Vmm.Events.Buffers;

namespace Vmm.Devices;

/// <summary>
/// What O_DIRECT reads into and writes from in the place of guest buffers that lie wrong. One for each operation in flight.
/// </summary>
internal sealed class BounceBuffer(SlabPool pool)
{
    /// <summary>Most bytes at once; a longer operation takes several turns.</summary>
    private const int BytesMax = 128 * 1024;

    private SlabBuffer _buffer;
    private bool _isUsed;

    /// <summary>Memory for the next piece of an operation, aligned to a page; filled, if it is to be written.</summary>
    /// <returns>False if there is no memory for it.</returns>
    internal bool TryBegin(BlockOperation operation, out Span<byte> memory)
    {
        memory = default;
        if (_buffer.IsEmpty && !pool.TryRent(BytesMax, out _buffer)) return false;
        memory = _buffer.Room[..(int)Math.Min(operation.Remaining, BytesMax)];
        if (operation.Kind == BlockOperationKind.Write) Copy(operation.Vectors, memory, toGuest: false);
        return _isUsed = true;
    }

    /// <summary>A piece went through, before the operation takes note of it: gives the guest what was read.</summary>
    /// <param name="operation">The operation.</param>
    /// <param name="bytes">As many as the host says.</param>
    internal void End(BlockOperation operation, int bytes)
    {
        if (_isUsed && operation.Kind == BlockOperationKind.Read) Copy(operation.Vectors, _buffer.Room[..bytes], toGuest: true);
        _isUsed = false;
    }

    /// <summary>The operation is over.</summary>
    internal void Release()
    {
        if (_buffer.IsEmpty) return;
        _buffer.Release();
        _buffer = default;
        _isUsed = false;
    }

    private static void Copy(ReadOnlySpan<IoVector> vectors, Span<byte> memory, bool toGuest)
    {
        foreach (IoVector vector in vectors)
        {
            int length = (int)Math.Min((ulong)vector.Length, (ulong)memory.Length);
            if (length == 0) return;
            Span<byte> guest = vector.Slice(0, length);
            if (toGuest) memory[..length].CopyTo(guest); else guest.CopyTo(memory);
            memory = memory[length..];
        }
    }
}
