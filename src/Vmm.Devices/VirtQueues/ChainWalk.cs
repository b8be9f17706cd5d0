using System.Runtime.CompilerServices;

namespace Vmm.Devices;

/// <summary>Collects the buffers of one chain, with every check that does not depend on the ring's layout.</summary>
/// <param name="chain">Gets the buffers.</param>
/// <param name="map">Where they are.</param>
internal ref struct ChainWalk(DescriptorChain chain, MemoryMap map)
{
    /// <summary>Most bytes of a chain (virtio 1.2 § 2.7.5).</summary>
    private const ulong BytesMax = 1UL << 32;

    private ulong _bytes;
    private int _region;
    private bool _writable;
    /// <summary>Where the piece added last ends, and the region it lies in: what follows there belongs to the same piece.</summary>
    private nint _end;
    private int _endRegion;

    /// <summary>Why a buffer was refused.</summary>
    internal GuestFault Fault { get; private set; }

    /// <summary>Adds a buffer; one without bytes adds nothing (drivers send such, § 2.7.5 does not forbid it).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryAdd(ulong address, uint length, bool writable)
    {
        if (_writable != writable)
        {
            if (_writable) return Refuse(QueueFaults.Order);
            _writable = true;
            _end = 0;
        }
        _bytes += length;
        if (_bytes > BytesMax) return Refuse(QueueFaults.Bytes);
        if (length == 0) return Skip();
        nint host = map.Translate(address, ref _region, out ulong available);
        if (host == 0 || available < length) return TryAddAcross(address, length);
        return TryAddPiece(address, host, length);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryAddPiece(ulong address, nint host, ulong length)
    {
        bool isNext = host == _end && _region == _endRegion;
        _end = host + (nint)length;
        _endRegion = _region;
        if (isNext) chain.Extend(length, _writable);
        else if (_writable) chain.AddWritable(new GuestSpan(address, host, length));
        else chain.AddReadable(new GuestSpan(address, host, length));
        return chain.Segments <= DescriptorChain.SegmentsMax || Refuse(QueueFaults.Segments);
    }

    /// <summary>A descriptor costs its walk even if it adds nothing.</summary>
    private readonly bool Skip()
    {
        chain.Weight++;
        return true;
    }

    /// <summary>A buffer that goes on in the region that follows.</summary>
    private bool TryAddAcross(ulong address, ulong length)
    {
        while (length > 0)
        {
            nint host = map.Translate(address, ref _region, out ulong available);
            if (host == 0) return Refuse(QueueFaults.Address);
            ulong piece = Math.Min(length, available);
            if (!TryAddPiece(address, host, piece)) return false;
            address += piece;
            length -= piece;
        }
        return true;
    }

    private bool Refuse(in GuestFault fault)
    {
        Fault = fault;
        return false;
    }
}
