namespace Vmm.Devices.Simulation;

/// <summary>A request of one CPU, made once and used again and again. Its header and status are in guest memory.</summary>
internal sealed class DiskRequest(int cpu, ulong headerAddress, ulong dataAddress)
{
    /// <summary>Guest memory of a request beside its data: header, one discard segment, status; rounded up to a power of two.</summary>
    internal const uint GuestBytes = 64;

    private volatile bool _done = true;

    /// <summary>Whose it is.</summary>
    internal int Cpu => cpu;

    /// <summary>Guest address of the header.</summary>
    internal ulong HeaderAddress => headerAddress;

    /// <summary>Guest address of the discard segment.</summary>
    internal ulong SegmentAddress => headerAddress + BlockProtocol.HeaderLength;

    /// <summary>Guest address of the status byte.</summary>
    internal ulong StatusAddress => SegmentAddress + BlockProtocol.SegmentLength;

    /// <summary>Guest address of its part of the CPU's data.</summary>
    internal ulong DataAddress => dataAddress;

    /// <summary>What it asks for.</summary>
    internal BlockRequestType Type { get; private set; }

    /// <summary>First sector.</summary>
    internal ulong Sector { get; private set; }

    /// <summary>Bytes of data; for a discard those that are given back.</summary>
    internal uint Bytes { get; private set; }

    /// <summary>How it ended.</summary>
    internal BlockStatus Status { get; private set; }

    /// <summary>Whether the device is done with it. Set by whichever CPU collected it.</summary>
    internal bool IsDone => _done;

    /// <summary>For its user: whether it was submitted and its completion not yet collected.</summary>
    internal bool IsBusy { get; set; }

    internal void Begin(BlockRequestType type, ulong sector, uint bytes)
    {
        Type = type;
        Sector = sector;
        Bytes = bytes;
        _done = false;
    }

    internal void End(BlockStatus status)
    {
        Status = status;
        _done = true;
    }
}
