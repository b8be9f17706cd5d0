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

    /// <summary>Why <see cref="TryAdd"/> refused.</summary>
    internal GuestFault Fault { get; private set; }

    /// <summary>Adds a buffer; one without bytes adds nothing (drivers send such, § 2.7.5 does not forbid it).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryAdd(ulong address, uint length, bool writable)
    {
        if (_writable && !writable) return Refuse(QueueFaults.Order);
        _writable = writable;
        _bytes += length;
        if (_bytes > BytesMax) return Refuse(QueueFaults.Bytes);
        if (length == 0) return true;
        nint host = map.Translate(address, ref _region, out ulong available);
        if (host == 0 || available < length) return TryAddAcross(address, length);
        Add(host, length);
        return true;
    }

    private readonly void Add(nint host, ulong length)
    {
        if (_writable) chain.AddWritable(host, length); else chain.AddReadable(host, length);
    }

    /// <summary>A buffer that goes on in the region that follows.</summary>
    private bool TryAddAcross(ulong address, ulong length)
    {
        while (length > 0)
        {
            nint host = map.Translate(address, ref _region, out ulong available);
            if (host == 0) return Refuse(QueueFaults.Address);
            ulong piece = Math.Min(length, available);
            Add(host, piece);
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
