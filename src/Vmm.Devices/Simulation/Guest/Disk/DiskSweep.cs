namespace Vmm.Devices.Simulation;

/// <summary>
/// One pass over a whole disk in random order, shared by all CPUs: each takes the next block until none is left or something failed.
/// </summary>
internal sealed class DiskSweep(ulong sectors, uint sectorsPerBlock, ulong seed, bool isFill, GuestProgress progress)
{
    /// <summary>Checking takes another order than writing did.</summary>
    private const ulong OtherWay = 0x5bf0_3635;

    private readonly ulong _blocks = (sectors + sectorsPerBlock - 1) / sectorsPerBlock;
    private readonly RandomOrder _order = new((sectors + sectorsPerBlock - 1) / sectorsPerBlock, isFill ? seed : seed ^ OtherWay);
    private long _next = -1;
    private string? _failure;

    internal ulong Seed => seed;

    internal bool IsFill => isFill;

    /// <summary>Blocks of the disk.</summary>
    internal ulong Blocks => _blocks;

    /// <summary>Blocks that were taken so far.</summary>
    internal ulong Taken => Math.Min((ulong)(Volatile.Read(ref _next) + 1), _blocks);

    /// <summary>Says on the console how far it is. On CPU 0.</summary>
    internal GuestProgress Progress => progress;

    /// <summary>The first thing that went wrong; null if nothing did.</summary>
    internal string? Failure => Volatile.Read(ref _failure);

    /// <summary>Takes the next block.</summary>
    internal bool TryNext(out ulong sector, out uint sectorCount)
    {
        sector = 0;
        sectorCount = 0;
        if (Failure is not null) return false;
        ulong position = (ulong)Interlocked.Increment(ref _next);
        if (position >= _blocks) return false;
        sector = _order[position] * sectorsPerBlock;
        sectorCount = (uint)Math.Min(sectorsPerBlock, sectors - sector);
        return true;
    }

    internal void Fail(string failure) => Interlocked.CompareExchange(ref _failure, failure, null);
}
