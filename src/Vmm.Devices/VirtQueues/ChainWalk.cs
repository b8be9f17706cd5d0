using System.Runtime.CompilerServices;

namespace Vmm.Devices;

/// <summary>
/// Collects the buffers of one chain, with every check that does not depend on the ring's layout. What is counted here gets into the chain
/// with <see cref="Finish"/>; until then it stays in registers, so nothing here takes the address of the walk.
/// </summary>
/// <param name="chain">Gets the buffers.</param>
/// <param name="near">The region to look in first.</param>
[method: MethodImpl(MethodImplOptions.AggressiveInlining)]
internal ref struct ChainWalk(DescriptorChain chain, GuestExtent near)
{
    /// <summary>Most bytes of a chain (virtio 1.2 § 2.7.5).</summary>
    private const ulong BytesMax = 1UL << 32;

    private GuestSpan[] _room = chain.Room;
    private int _count;
    private int _readableCount;
    private ulong _bytes;
    private ulong _readableBytes;
    private ulong _start = near.Start;
    private ulong _length = near.Length;
    private nint _offset = near.Offset;
    private uint _part;
    /// <summary>Where the piece added last ends in the host, if it lies in the region above: what follows there belongs to it.</summary>
    private nint _end;

    /// <summary>Adds a buffer; one without bytes adds nothing (drivers send such, § 2.7.5 does not forbid it).</summary>
    /// <param name="address">Guest-physical.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="part">What the descriptor's flags have of <see cref="RingLayout.FlagWrite"/>.</param>
    /// <returns>False if it was refused, and the fault reported.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryAdd(ulong address, uint length, uint part)
    {
        if (_part != part)
        {
            if (part == 0) return RefuseOrder(chain);
            _part = part;
            _end = 0;
            _readableCount = _count;
            _readableBytes = _bytes;
        }
        _bytes += length;
        if (_bytes > BytesMax) return RefuseBytes(chain);
        ulong offset = address - _start;
        int count = _count;
        // No bytes are one less than 0 here: more than any region has.
        if (offset < _length && (ulong)length - 1 < _length - offset)
        {
            nint host = unchecked((nint)address + _offset);
            GuestSpan[] room = _room;
            if (host == _end)
            {
                _end += (nint)length;
                Extend(chain, count, length);
                return true;
            }
            if ((uint)count < (uint)room.Length)
            {
                room[count] = new GuestSpan(address, host, length);
                _count = count + 1;
                _end = host + (nint)length;
                return true;
            }
        }
        int counted = AddElsewhere(chain, count, address, length);
        if (counted <= count) return counted == count;
        _count = counted;
        _room = chain.Room;
        GuestExtent found = chain.Queue.Near;
        (_start, _length, _offset) = (found.Start, found.Length, found.Offset);
        _end = _room[counted - 1].End;
        return true;
    }

    /// <summary>The chain is complete.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal readonly bool Finish()
    {
        if (_part != 0) chain.Finish(_count, _readableCount, _readableBytes, _bytes - _readableBytes);
        else chain.Finish(_count, _count, _bytes, 0);
        return true;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool RefuseOrder(DescriptorChain chain) => chain.Queue.Refuse(QueueFaults.Order);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool RefuseBytes(DescriptorChain chain) => chain.Queue.Refuse(QueueFaults.Bytes);

    /// <summary>Makes the last piece longer: the buffer that follows lies behind it.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Extend(DescriptorChain chain, int count, uint length)
    {
        ref GuestSpan last = ref chain.Room[count - 1];
        last = new GuestSpan(last.Guest, last.Host, last.Length + length);
        chain.AddWeight();
    }

    /// <summary>
    /// Adds a buffer without bytes, one in another region, one that goes on in the region that follows, or one more than there is room for.
    /// </summary>
    /// <returns>Pieces of the chain then, the last of them in the queue's near region; -1 if the buffer was refused.</returns>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static int AddElsewhere(DescriptorChain chain, int count, ulong address, ulong length)
    {
        VirtQueue queue = chain.Queue;
        if (length == 0) chain.AddWeight();
        while (length > 0)
        {
            if (!queue.TryMoveNear(address)) return -1;
            if (count == chain.Room.Length && !chain.TryGrow())
            {
                queue.Refuse(QueueFaults.Segments);
                return -1;
            }
            GuestExtent near = queue.Near;
            ulong piece = Math.Min(length, near.Length - (address - near.Start));
            chain.Room[count++] = new GuestSpan(address, near.HostOf(address), piece);
            address += piece;
            length -= piece;
        }
        return count;
    }
}
