using Vmm.Events.Buffers;
using Vmm.Events.Rings;

namespace Vmm.Examples.OwnOperation;

/// <summary>
/// An operation that has the kernel write to memory: bytes of a socket that stay there to be received again (recv(2) with MSG_PEEK). The
/// buffer is lent for it: it
/// comes back with the result, and goes to the ring when the operation is abandoned, because the kernel may still write to it then.
/// </summary>
public readonly struct PeekOperation : IRingEvent<BufferResult>
{
    private const byte Receive = 27; // IORING_OP_RECV
    private const uint Peek = 2; // MSG_PEEK

    private readonly LentBuffer _lent;

    /// <summary>Takes a buffer, which is the operation's until the result.</summary>
    /// <exception cref="ObjectDisposedException">The buffer was released or handed on before.</exception>
    public PeekOperation(SlabBuffer buffer) => _lent = buffer.Lend();

    /// <summary>The caller of a peek decides by what it finds, so it is asked for at once.</summary>
    public bool IsEager => true;

    /// <inheritdoc/>
    public unsafe void Prepare(RingEntry* entry)
    {
        // SAFETY: the entry is the ring's for the length of the call; the address is that of a lent buffer, with its length.
        entry->Operation = Receive;
        entry->Address = (ulong)_lent.RoomAddress;
        entry->Length = (uint)_lent.RoomBytes;
        entry->Flags = Peek;
    }

    /// <inheritdoc/>
    public BufferResult Complete(int result)
    {
        int room = _lent.RoomBytes;
        return new BufferResult(new RingResult(result), _lent.Return(Math.Max(0, result)), room);
    }

    /// <inheritdoc/>
    public RingCancellation Cancel() => RingCancellation.None.With(_lent);
}
