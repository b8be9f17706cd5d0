namespace Vmm.Devices;

/// <summary>
/// Follows the descriptors of one chain from <see cref="Next"/> on and collects its buffers, with every check. It counts for itself; the
/// chain gets what was counted with <see cref="Finish"/>.
/// </summary>
internal ref struct ChainWalk(DescriptorChain chain, Descriptor next)
{
    /// <summary>Most bytes of a chain (virtio 1.2 § 2.7.5).</summary>
    private const ulong BytesMax = 1UL << 32;

    private int _count;
    private int _readableCount;
    private ulong _bytes;
    private ulong _readableBytes;
    private uint _part;
    /// <summary>Where the piece added last ends in the host, if it lies in the near region: what follows there belongs to it.</summary>
    private nint _end;

    /// <summary>The descriptor that is followed next, or that the walk ended with: as it was read, once.</summary>
    internal Descriptor Next { get; set; } = next;

    /// <summary>Descriptors of the table that the walk went through last.</summary>
    internal int Walked { get; private set; }

    /// <summary>
    /// Follows a chain through one table, from <see cref="Next"/> on, which lies there at an index. A journal is given each descriptor
    /// before it is looked at. A loop ends at the bound.
    /// </summary>
    internal WalkEnd Follow<TOrder>(GuestWindow table, uint entries, uint index, int descriptorsMax, IQueueJournal? journal = null)
        where TOrder : struct, IDescriptorOrder
    {
        int left = descriptorsMax;
        while (true)
        {
            journal?.Add(Next);
            uint flags = TOrder.FlagsOf(Next);
            Walked = descriptorsMax - left + 1;
            if ((flags & RingLayout.FlagIndirect) != 0) return WalkEnd.AtTable;
            if (!TryAdd(Next.Address, Next.Length, flags & RingLayout.FlagWrite)) return WalkEnd.Refused;
            if (TOrder.IsLast(Next, index, entries)) break;
            index = TOrder.After(Next, index, entries);
            if (index >= entries) return Refuse(QueueFaults.Next);
            if (--left == 0) return Refuse(QueueFaults.Length);
            Next = Descriptor.Load(table, index);
        }
        return WalkEnd.Complete;
    }

    /// <summary>Ends the walk with a fault.</summary>
    internal readonly WalkEnd Refuse(in GuestFault fault)
    {
        chain.Queue.Refuse(fault);
        return WalkEnd.Refused;
    }

    /// <summary>The chain is complete.</summary>
    internal readonly bool Finish()
    {
        if (_part != 0) chain.Finish(_count, _readableCount, _readableBytes, _bytes - _readableBytes);
        else chain.Finish(_count, _count, _bytes, 0);
        return true;
    }

    /// <summary>
    /// Follows a chain from its first descriptor, as it was read, through one table, if each is a buffer in the near region with room for
    /// it: as almost all chains are. This calls nothing, so that all it needs stays in registers. It makes each check, and reports no
    /// fault: a walk of another kind begins anew, and keeps nothing of this one. The chain is empty before, and stays so if it is not like
    /// that.
    /// </summary>
    /// <returns>Descriptors of the chain in bits 0 to 15, the buffer id of the last in the next 16; 0 if it is not like that.</returns>
    [MethodImpl(MethodImplOptions.NoInlining)]
    internal static uint FollowUsual<TOrder>(DescriptorChain chain, Descriptor first, GuestWindow table, uint entries, uint index)
        where TOrder : struct, IDescriptorOrder
    {
        GuestExtent near = chain.Queue.Near;
        GuestSpan[] room = chain.Room;
        Descriptor next = first;
        int count = 0, readableCount = 0;
        ulong bytes = 0, readableBytes = 0;
        uint part = 0;
        nint end = 0;
        uint descriptorsMax = Math.Min(entries, VirtQueue.ChainDescriptorsMax);
        for (uint walked = 1; walked <= descriptorsMax; walked++)
        {
            uint flags = TOrder.FlagsOf(next), length = next.Length;
            ulong offset = next.Address - near.Start;
            // No bytes are one less than 0 here: more than any region has.
            if ((flags & RingLayout.FlagIndirect) != 0 || offset >= near.Length || (ulong)length - 1 >= near.Length - offset) break;
            if ((flags & RingLayout.FlagWrite) != part)
            {
                if (part != 0) break;
                part = RingLayout.FlagWrite;
                end = 0;
                (readableCount, readableBytes) = (count, bytes);
            }
            bytes += length;
            nint host = near.HostOf(next.Address);
            if (host == end || (uint)count >= (uint)room.Length) break;
            room[count] = new GuestSpan(next.Address, host, length);
            count++;
            end = host + (nint)length;
            if (TOrder.IsLast(next, index, entries))
            {
                if (bytes > BytesMax) break;
                if (part != 0) chain.Finish(count, readableCount, readableBytes, bytes - readableBytes);
                else chain.Finish(count, count, bytes, 0);
                return walked | ((uint)next.BufferId << 16);
            }
            index = TOrder.After(next, index, entries);
            if (index >= entries) break;
            next = Descriptor.Load(table, index);
        }
        return 0;
    }

    /// <summary>
    /// Adds a buffer to the part that its descriptor's WRITE flag says; one without bytes adds nothing (drivers send such, § 2.7.5 does not
    /// forbid it).
    /// </summary>
    /// <returns>False if it was refused, and the fault reported.</returns>
    internal bool TryAdd(ulong address, ulong length, uint part)
    {
        VirtQueue queue = chain.Queue;
        if (_part != part)
        {
            if (part == 0) return queue.Refuse(QueueFaults.Order);
            _part = part;
            _end = 0;
            (_readableCount, _readableBytes) = (_count, _bytes);
        }
        _bytes += length;
        if (_bytes > BytesMax) return queue.Refuse(QueueFaults.Bytes);
        if (length == 0) chain.AddWeight();
        // A buffer that goes on in the region that follows becomes two pieces.
        while (length > 0)
        {
            ulong start = queue.Near.Start;
            if (!queue.TryMoveNear(address)) return false;
            GuestExtent near = queue.Near;
            // What lies behind in the host only may be elsewhere in the guest.
            if (near.Start != start) _end = 0;
            ulong piece = Math.Min(length, near.Length - (address - near.Start));
            if (!TryAddPiece(new GuestSpan(address, near.HostOf(address), piece))) return queue.Refuse(QueueFaults.Segments);
            address += piece;
            length -= piece;
        }
        return true;
    }

    /// <summary>Adds a piece, or makes the last one longer if this one lies behind it.</summary>
    private bool TryAddPiece(GuestSpan piece)
    {
        if (piece.Host == _end)
        {
            ref GuestSpan last = ref chain.Room[_count - 1];
            last = new GuestSpan(last.Guest, last.Host, last.Length + piece.Length);
            chain.AddWeight();
        }
        else
        {
            if (_count == chain.Room.Length && !chain.TryGrow()) return false;
            chain.Room[_count++] = piece;
        }
        _end = piece.End;
        return true;
    }
}
