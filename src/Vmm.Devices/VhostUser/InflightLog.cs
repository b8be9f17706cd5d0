namespace Vmm.Devices.VhostUser;

/// <summary>
/// Which chains of a split queue were taken and not given back yet, in memory that outlives this process (vhost-user protocol, "Inflight
/// I/O tracking"). The next process that serves the ring takes them again: nothing is lost if this process is killed between any two
/// stores. Each member does its stores in the order the protocol names, which x86-64 keeps. The memory is the front-end's too, so nothing
/// read from it is trusted.
/// </summary>
internal sealed class InflightLog : IQueueJournal
{
    private const ulong VersionOffset = 8, DescriptorsOffset = 10, BatchHeadOffset = 12, UsedIndexOffset = 14, EntriesOffset = 16;
    private const ulong EntryBytes = 16, EntryNextOffset = 6, EntryCounterOffset = 8;
    private const ushort Version = 1;

    /// <summary>
    /// Regions of queues start at multiples of this, as in the back-ends that came first: a log may be handed from one to another.
    /// </summary>
    private const ulong Alignment = 64;

    private readonly GuestWindow _window;
    private readonly ushort _size;
    private readonly ushort[] _batch;
    private readonly Queue<ushort> _retaken = new();
    private int _batchCount;
    private ulong _counter;

    /// <param name="window">At least <see cref="BytesFor"/> of the size, aligned to 8; mapped for as long as this is used.</param>
    /// <param name="size">Entries it has, at least as many as the ring.</param>
    internal InflightLog(GuestWindow window, ushort size)
    {
        _window = window;
        _size = size;
        _batch = new ushort[size];
    }

    /// <summary>Chains the ring may name: descriptor numbers below this.</summary>
    internal ushort Size => _size;

    /// <summary>Bytes of a queue's log.</summary>
    internal static ulong BytesFor(ushort size) => (EntriesOffset + (size * EntryBytes) + Alignment - 1) / Alignment * Alignment;

    /// <summary>Takes up what the process before left: finishes its last batch, and returns what it had taken and not given back.</summary>
    /// <param name="usedIndex">The used index of the ring, as the driver sees it.</param>
    /// <returns>Heads, in the order they were taken: they are to be taken again.</returns>
    internal IReadOnlyCollection<ushort> Recover(ushort usedIndex)
    {
        if (_window.Load16(VersionOffset) == Version && _window.Load16(DescriptorsOffset) == _size) FinishBatch(usedIndex);
        else Initialize();
        _window.Store16(UsedIndexOffset, usedIndex);

        List<(ulong Counter, ushort Head)> taken = [];
        for (ushort head = 0; head < _size; head++)
        {
            if (_window.Load16(Entry(head)) == 0) continue;
            taken.Add((_window.Load64(Entry(head) + EntryCounterOffset), head));
        }
        taken.Sort();
        _counter = taken.Count == 0 ? 0 : taken[^1].Counter + 1;
        foreach ((_, ushort head) in taken) _retaken.Enqueue(head);
        return _retaken;
    }

    public int Retaken => _retaken.Count;

    public int RetakenDescriptors => 0;

    public RetakenChain Retake() => new(_retaken.Dequeue(), []);

    public void PutBack(ushort name) => _retaken.Enqueue(name);

    public void Taking()
    {
    }

    public void Add(Descriptor descriptor)
    {
    }

    public ushort Taken(ushort id)
    {
        _window.Store64(Entry(id) + EntryCounterOffset, _counter++);
        _window.Store16(Entry(id), 1);
        return id;
    }

    public void Abandon()
    {
    }

    public void NotTaken(ushort name) => _window.Store16(Entry(name), 0);

    public void GivenBack(ushort name)
    {
        _window.Store16(Entry(name) + EntryNextOffset, _window.Load16(BatchHeadOffset));
        _window.Store16(BatchHeadOffset, name);
        _batch[_batchCount++] = name;
    }

    public void Publishing(ushort usedBase)
    {
    }

    public void Published(ushort usedBase)
    {
        for (int i = 0; i < _batchCount; i++) _window.Store16(Entry(_batch[i]), 0);
        _batchCount = 0;
        _window.Store16(UsedIndexOffset, usedBase);
    }

    /// <summary>The driver saw the last batch, but its entries may still be marked.</summary>
    private void FinishBatch(ushort usedIndex)
    {
        ushort head = _window.Load16(BatchHeadOffset);
        for (int left = Math.Min((ushort)(usedIndex - _window.Load16(UsedIndexOffset)), _size); left > 0 && head < _size; left--)
        {
            _window.Store16(Entry(head), 0);
            head = _window.Load16(Entry(head) + EntryNextOffset);
        }
    }

    private void Initialize()
    {
        for (ushort head = 0; head < _size; head++) _window.Store16(Entry(head), 0);
        _window.Store16(DescriptorsOffset, _size);
        _window.Store16(VersionOffset, Version);
    }

    private static ulong Entry(ushort head) => EntriesOffset + (head * EntryBytes);
}
