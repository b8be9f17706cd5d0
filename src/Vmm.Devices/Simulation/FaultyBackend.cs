using Vmm.Events;

namespace Vmm.Devices.Simulation;

/// <summary>
/// A disk in memory for tests: counts operations, fails them or holds them as a test asks, and knows what a power cut would leave. It keeps
/// the kernel's rule for a failed sync: what was not written yet stays readable, and is never written. Thread-safe.
/// </summary>
/// <example><code>
/// FaultyBackend disk = new() { Fault = operation => operation.Kind == BlockOperationKind.Flush ? Errno.InputOutput : Errno.None };
/// using var guest = SimulatedGuest.For(new BlockDevice("vda", disk));
/// </code></example>
public sealed class FaultyBackend : IBlockBackend
{
    private const int SectorBytes = BlockProtocol.SectorSize;
    private static readonly byte[] Zeroes = new byte[SectorBytes];

    private readonly Lock _lock = new();
    private readonly List<BlockOperation> _held = [];
    private readonly HashSet<Action> _onCompleted = [];
    private readonly long[] _done = new long[Enum.GetValues<BlockOperationKind>().Length];
    private readonly long[] _failed = new long[Enum.GetValues<BlockOperationKind>().Length];
    private readonly Dictionary<ulong, byte[]> _content = [];
    private readonly Dictionary<ulong, byte[]> _durable = [];
    private readonly HashSet<ulong> _dirty = [];

    /// <inheritdoc/>
    public string Description => "faulty disk";

    /// <inheritdoc/>
    public ulong CapacityBytes
    {
        get => Volatile.Read(ref _capacity);
        set
        {
            if (Interlocked.Exchange(ref _capacity, value) != value) CapacityChanged?.Invoke();
        }
    }
    private ulong _capacity = 1 << 20;

    /// <inheritdoc/>
    public event Action? CapacityChanged;

    /// <inheritdoc/>
    public bool IsReadOnly { get; init; }

    /// <summary>Whether it keeps what is written; if not it reads as zero, and takes no memory.</summary>
    public bool KeepsContent { get; init; } = true;

    /// <summary>How an operation ends, asked when it completes: <see cref="Errno.None"/> lets it succeed. Null: all succeed.</summary>
    public Func<BlockOperation, Errno>? Fault { get; set; }

    /// <summary>Whether operations wait for <see cref="CompleteHeld"/>.</summary>
    public bool Holds { get; set; }

    /// <summary>Operations that wait.</summary>
    public int Held => _held.Count;

    /// <summary>The operation that was started last.</summary>
    public BlockOperation? Last { get; private set; }

    /// <summary>Bytes of all reads and writes that were started.</summary>
    public ulong Bytes { get; private set; }

    /// <summary>Engines in use: one for each queue that runs.</summary>
    public int Engines { get; private set; }

    /// <summary>Whether it was disposed.</summary>
    public bool IsDisposed { get; private set; }

    /// <summary>Operations of a kind that ended, failed ones included.</summary>
    public long Count(BlockOperationKind kind) => Volatile.Read(ref _done[(int)kind]);

    /// <summary>Operations of a kind that failed.</summary>
    public long Failures(BlockOperationKind kind) => Volatile.Read(ref _failed[(int)kind]);

    /// <summary>What a sector reads as.</summary>
    public byte[] Sector(ulong sector)
    {
        lock (_lock) return [.. _content.GetValueOrDefault(sector, Zeroes)];
    }

    /// <summary>What a sector would read as after a power cut that takes whatever was not synced.</summary>
    public byte[] DurableSector(ulong sector)
    {
        lock (_lock) return [.. _durable.GetValueOrDefault(sector, Zeroes)];
    }

    /// <inheritdoc/>
    public IBlockEngine CreateEngine(IReactor reactor, Action onCompleted)
    {
        lock (_lock)
        {
            Engines++;
            _onCompleted.Add(onCompleted);
        }
        return new Engine(this);
    }

    /// <inheritdoc/>
    public void Dispose() => IsDisposed = true;

    /// <summary>Completes what waits, last first, as a disk with many heads may. On the thread of the queue's reactor.</summary>
    public void CompleteHeld()
    {
        for (int i = _held.Count - 1; i >= 0; i--)
        {
            BlockOperation operation = _held[i];
            _held.RemoveAt(i);
            Finish(operation);
        }
        foreach (Action completed in _onCompleted) completed();
    }

    private void Finish(BlockOperation operation)
    {
        Errno error = Fault?.Invoke(operation) ?? Errno.None;
        Interlocked.Increment(ref _done[(int)operation.Kind]);
        if (error != Errno.None) Interlocked.Increment(ref _failed[(int)operation.Kind]);
        lock (_lock)
        {
            if (error == Errno.None) Apply(operation);
            else if (operation.Kind == BlockOperationKind.Flush) _dirty.Clear();
        }
        operation.Complete(error);
    }

    private void Apply(BlockOperation operation)
    {
        switch (operation.Kind)
        {
            case BlockOperationKind.Flush:
                foreach (ulong sector in _dirty) Settle(sector);
                _dirty.Clear();
                break;
            case BlockOperationKind.Read or BlockOperationKind.Write:
                Transfer(operation);
                break;
            default:
                foreach (BlockSegment segment in operation.Segments)
                {
                    for (ulong at = segment.Offset; KeepsContent && at < segment.Offset + segment.Length; at += SectorBytes)
                        Store(at / SectorBytes, Zeroes, operation.IsDurable);
                }
                break;
        }
    }

    private void Transfer(BlockOperation operation)
    {
        // A sector may lie in several buffers.
        byte[] sector = new byte[SectorBytes];
        int filled = 0;
        ulong at = operation.Offset / SectorBytes;
        foreach (IoVector vector in operation.Vectors)
        {
            for (int done = 0; done < (int)vector.Length;)
            {
                if (filled == 0 && operation.Kind == BlockOperationKind.Read) sector = _content.GetValueOrDefault(at, Zeroes);
                int count = Math.Min(SectorBytes - filled, (int)vector.Length - done);
                Span<byte> guest = vector.Slice((nuint)done, count);
                if (operation.Kind == BlockOperationKind.Read)
                    sector.AsSpan(filled, count).CopyTo(guest);
                else guest.CopyTo(sector.AsSpan(filled));
                done += count;
                filled = (filled + count) % SectorBytes;
                if (filled != 0) continue;
                if (operation.Kind == BlockOperationKind.Write && KeepsContent) Store(at, sector, operation.IsDurable);
                at++;
            }
        }
        operation.Advance(operation.Remaining);
    }

    private void Store(ulong sector, byte[] content, bool durable)
    {
        _content[sector] = [.. content];
        if (!durable)
        {
            _dirty.Add(sector);
            return;
        }
        _dirty.Remove(sector);
        Settle(sector);
    }

    private void Settle(ulong sector) => _durable[sector] = _content[sector];

    private sealed class Engine(FaultyBackend disk) : IBlockEngine
    {
        public void Start(BlockOperation operation)
        {
            if (operation.Remaining > disk.CapacityBytes || operation.Offset > disk.CapacityBytes - operation.Remaining)
                throw new InvalidOperationException(
                    $"{operation.Kind} of {operation.Remaining} bytes at {operation.Offset} leaves the disk");
            disk.Last = operation;
            disk.Bytes += operation.Remaining;
            if (disk.Holds) disk._held.Add(operation);
            else disk.Finish(operation);
        }

        public void Submit()
        {
        }

        public void Dispose() => disk.Engines--;
    }
}
