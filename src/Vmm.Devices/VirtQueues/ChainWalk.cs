using System.Runtime.CompilerServices;

namespace Vmm.Devices;

/// <summary>Collects the buffers of one chain, with every check that does not depend on the ring's layout.</summary>
/// <param name="chain">Gets the buffers.</param>
/// <param name="map">Where they are.</param>
/// <param name="region">The region to look in first.</param>
internal ref struct ChainWalk(DescriptorChain chain, MemoryMap map, int region)
{
    /// <summary>Most bytes of a chain (virtio 1.2 § 2.7.5).</summary>
    private const ulong BytesMax = 1UL << 32;

    private ulong _bytes;
    private ulong _readableBytes;
    private int _region = region;
    private bool _writable;
    /// <summary>Where the piece added last ends, and the region it lies in: what follows there belongs to the same piece.</summary>
    private nint _end;
    private int _endRegion;

    /// <summary>
    /// Adds a buffer; one without bytes adds nothing (drivers send such, § 2.7.5 does not forbid it). Nothing here gets the address of the
    /// walk, so that it stays in registers.
    /// </summary>
    /// <returns>False if it was refused, and the fault reported.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryAdd(ulong address, uint length, bool writable)
    {
        if (_writable != writable)
        {
            if (_writable) return chain.Queue.Refuse(QueueFaults.Order);
            _writable = true;
            _end = 0;
            _readableBytes = _bytes;
            chain.BeginWritable();
        }
        _bytes += length;
        if (_bytes > BytesMax) return chain.Queue.Refuse(QueueFaults.Bytes);
        if (length == 0)
        {
            // It costs its walk all the same.
            chain.Weight++;
            return true;
        }
        nint host = map.Translate(address, ref _region, out ulong available);
        if (host != 0 && length <= available) return TryAddPiece(address, host, length);
        _end = 0;
        return TryAddAcross(chain, map, address, length);
    }

    /// <summary>The chain is complete.</summary>
    /// <param name="region">Where its last buffer was: the next chain's are likely to be there.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal readonly bool Finish(out int region)
    {
        region = _region;
        if (_writable) chain.Finish(_readableBytes, _bytes - _readableBytes);
        else chain.FinishReadable(_bytes);
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryAddPiece(ulong address, nint host, ulong length)
    {
        bool isNext = host == _end && _region == _endRegion;
        _end = host + (nint)length;
        _endRegion = _region;
        if (!isNext) return chain.TryAdd(new GuestSpan(address, host, length)) || chain.Queue.Refuse(QueueFaults.Segments);
        chain.Extend(length);
        return true;
    }

    /// <summary>A buffer that goes on in the region that follows.</summary>
    private static bool TryAddAcross(DescriptorChain chain, MemoryMap map, ulong address, ulong length)
    {
        int region = 0;
        while (length > 0)
        {
            nint host = map.Translate(address, ref region, out ulong available);
            if (host == 0) return chain.Queue.Refuse(QueueFaults.Address);
            ulong piece = Math.Min(length, available);
            if (!chain.TryAdd(new GuestSpan(address, host, piece))) return chain.Queue.Refuse(QueueFaults.Segments);
            address += piece;
            length -= piece;
        }
        return true;
    }
}
