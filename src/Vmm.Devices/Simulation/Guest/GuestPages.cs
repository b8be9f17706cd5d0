namespace Vmm.Devices.Simulation;

/// <summary>
/// Who has which of the guest's memory: the first part for rings and requests, the rest in equal pieces for the data of each CPU. Handed
/// out at boot by CPU 0, never given back.
/// </summary>
internal sealed class GuestPages
{
    /// <summary>A piece is a multiple of this, and the data of one request is at least this much.</summary>
    internal const uint DataUnit = 64 * 1024;

    /// <summary>Most data of one CPU in flight.</summary>
    private const ulong DataBytesMax = 4 * 1024 * 1024;

    /// <summary>Address 0 stays unused, so that a pointer that was forgotten shows.</summary>
    private const ulong FirstAddress = 0x10000;

    private const ulong PageBytes = 4096;

    private readonly GuestAllocator _kernel;
    private readonly ulong _dataStart;
    private readonly ulong _dataEnd;
    private readonly ulong _end;

    internal GuestPages(ulong memoryBytes, int cpuCount)
    {
        ulong half = memoryBytes / 2;
        _kernel = new GuestAllocator(FirstAddress, half - FirstAddress);
        _dataStart = half & ~((ulong)DataUnit - 1);
        _end = memoryBytes;
        DataBytes = (uint)(Math.Min(DataBytesMax, half / (ulong)cpuCount) & ~((ulong)DataUnit - 1));
        _dataEnd = _dataStart + (ulong)cpuCount * DataBytes;
    }

    /// <summary>Bytes of each CPU's piece.</summary>
    internal uint DataBytes { get; }

    /// <summary>Least memory for a machine of so many CPUs.</summary>
    internal static ulong MemoryBytesMin(int cpuCount) => 8 * 1024 * 1024 + (ulong)cpuCount * 2 * DataUnit;

    /// <summary>Where a CPU's piece is.</summary>
    internal ulong DataOf(int cpu) => _dataStart + (ulong)cpu * DataBytes;

    /// <summary>Pages that no driver took, once every driver is up.</summary>
    internal uint FreePages => (uint)(LowFreePages + (_end - _dataEnd) / PageBytes);

    /// <summary>Bytes of the machine.</summary>
    internal ulong MemoryBytes => _end;

    /// <summary>Where a free page is: 0 is the lowest.</summary>
    internal ulong AddressOfFree(uint page) =>
        page < LowFreePages ? LowFreeStart + page * PageBytes : _dataEnd + (page - LowFreePages) * PageBytes;

    private ulong LowFreeStart => (_kernel.Unused + PageBytes - 1) & ~(PageBytes - 1);

    private ulong LowFreePages => LowFreeStart < _dataStart ? (_dataStart - LowFreeStart) / PageBytes : 0;

    /// <summary>Takes memory for one queue, to be handed out by the queue.</summary>
    /// <returns>Null if there is not enough left.</returns>
    internal GuestAllocator? TakeForQueue(uint bytes)
    {
        try
        {
            return new GuestAllocator(_kernel.Allocate(bytes), bytes);
        }
        catch (InvalidOperationException)
        {
            return null;
        }
    }
}
