namespace Vmm.Devices.VhostUser;

/// <summary>
/// What <see cref="InflightLog"/> is to a split queue (vhost-user protocol, "Inflight I/O tracking", packed virtqueues). A device gives
/// chains back where others still wait to be read in a packed ring, so the log keeps the descriptors of every chain too. Its memory is the
/// front-end's as well: what lists hold is kept here besides, and what the process before us left is read once and checked.
/// </summary>
internal sealed class PackedInflightLog : IQueueJournal
{
    private const ulong VersionOffset = 8, DescriptorsOffset = 10, FreeHeadOffset = 12, OldFreeHeadOffset = 14,
        UsedOffset = 16, OldUsedOffset = 18;
    private const ulong WrapsOffset = 20, EntriesOffset = 32;
    private const ulong EntryBytes = 32, NextOffset = 2, LastOffset = 4, CountOffset = 6, CounterOffset = 8,
        TailOffset = 16, AddressOffset = 24;
    private const ushort Version = 1;
    private const ulong Alignment = 64;

    private readonly GuestWindow _window;
    private readonly ushort _size;
    private readonly ushort[] _next;
    private readonly ushort[] _last;
    /// <summary>Heads of chains given back and not visible to the driver yet, the oldest first.</summary>
    private readonly ushort[] _batch;
    private readonly Queue<ushort> _retaken = new();
    private readonly Dictionary<ushort, Descriptor[]> _recovered = [];
    private int _batchCount;
    /// <summary>The first entry that is free, whatever the driver sees.</summary>
    private ushort _free;
    private ushort _head;
    private ushort _count;
    private ulong _counter;
    private PackedPosition _published;

    /// <param name="window">At least <see cref="BytesFor"/> of the size, aligned to 8; mapped for as long as this is used.</param>
    /// <param name="size">Entries it has, at least as many as the ring.</param>
    internal PackedInflightLog(GuestWindow window, ushort size)
    {
        _window = window;
        _size = size;
        _next = new ushort[size];
        _last = new ushort[size];
        _batch = new ushort[size];
    }

    /// <summary>Descriptors it has room for.</summary>
    internal ushort Size => _size;

    public int Retaken => _retaken.Count;

    public int RetakenDescriptors { get; private set; }

    /// <summary>Bytes of a queue's log.</summary>
    internal static ulong BytesFor(ushort size) => (EntriesOffset + (size * EntryBytes) + Alignment - 1) / Alignment * Alignment;

    /// <summary>
    /// Takes up what the process before left: finishes or takes back its last batch, and finds what it had taken and not given back.
    /// </summary>
    /// <param name="start">Where the ring goes on if this log was not kept before.</param>
    /// <param name="ringSize">Entries of the ring.</param>
    /// <param name="flagsAt">The flags that an entry of the ring has now.</param>
    /// <param name="used">Where the ring is given back next.</param>
    /// <param name="available">Where it is taken next.</param>
    /// <returns>False if the log can't be one of this ring.</returns>
    internal bool TryRecover(PackedPosition start, ushort ringSize, Func<PackedPosition, ushort> flagsAt,
        out PackedPosition used, out PackedPosition available)
    {
        used = available = start;
        if (_window.Load16(VersionOffset) != Version || _window.Load16(DescriptorsOffset) != _size)
        {
            for (ushort head = 0; head < _size; head++) _window.Store16(Entry(head), 0);
            Begin(new bool[_size], start);
            _window.Store16(DescriptorsOffset, _size);
            _window.Store16(VersionOffset, Version);
            return true;
        }
        ushort wraps = _window.Load16(WrapsOffset);
        ushort lastIndex = _window.Load16(UsedOffset), beforeIndex = _window.Load16(OldUsedOffset);
        if (lastIndex >= ringSize || beforeIndex >= ringSize) return false;
        PackedPosition last = new(lastIndex, (wraps & 0xff) != 0), before = new(beforeIndex, wraps >> 8 != 0);
        // The driver saw the last batch if the entry where it began is not as the driver had left it.
        bool finish = last != before && !before.IsAvailable(flagsAt(before));
        used = finish ? last : before;
        ForgetFree(_window.Load16(finish ? FreeHeadOffset : OldFreeHeadOffset));
        bool[] isTaken = new bool[_size];
        if (!TryReadTaken(isTaken, out List<(ulong Counter, ushort Head, Descriptor[] Descriptors)> taken)) return false;
        RetakenDescriptors = taken.Sum(chain => chain.Descriptors.Length);
        if (RetakenDescriptors > ringSize) return false;
        foreach ((_, ushort head, Descriptor[] chain) in taken.OrderBy(chain => chain.Counter))
        {
            _retaken.Enqueue(head);
            _recovered.Add(head, chain);
        }
        _counter = taken.Count == 0 ? 0 : taken.Max(chain => chain.Counter) + 1;
        Begin(isTaken, used);
        available = used.Advance(RetakenDescriptors, ringSize);
        return true;
    }

    public RetakenChain Retake()
    {
        ushort head = _retaken.Dequeue();
        return new RetakenChain(head, _recovered[head]);
    }

    public void PutBack(ushort name) => _retaken.Enqueue(name);

    public void Taking()
    {
        _head = _free;
        _count = 0;
        if (_head == _size) return;
        _window.Store16(Entry(_head) + CountOffset, 0);
        _window.Store64(Entry(_head) + CounterOffset, _counter++);
        _window.Store16(Entry(_head), 1);
    }

    public void Add(Descriptor descriptor)
    {
        // More than the ring has: the walk that reads it finds that out at its end.
        if (_free == _size) return;
        ushort entry = _free;
        _window.Store64(Entry(entry) + TailOffset, SwapHalves(descriptor.Tail));
        _window.Store64(Entry(entry) + AddressOffset, descriptor.Address);
        _window.Store16(Entry(_head) + LastOffset, entry);
        _window.Store16(Entry(_head) + CountOffset, ++_count);
        _last[_head] = entry;
        _free = _next[entry];
    }

    public ushort Taken(ushort id)
    {
        StoreFree();
        return _head;
    }

    public void NotTaken(ushort name)
    {
        Link(_last[name], _free);
        _free = name;
        StoreFree();
        _window.Store16(Entry(name), 0);
    }

    public void Abandon()
    {
        if (_head == _size) return;
        _free = _head;
        _window.Store16(Entry(_head), 0);
    }

    public void GivenBack(ushort name)
    {
        Link(_last[name], _batchCount == 0 ? _free : _batch[_batchCount - 1]);
        _batch[_batchCount++] = name;
        _window.Store16(FreeHeadOffset, name);
    }

    public void Publishing(ushort usedBase)
    {
        PackedPosition used = new PackedPosition(usedBase);
        _window.Store16(UsedOffset, used.Index);
        StoreWraps(used, _published);
    }

    public void Published(ushort usedBase)
    {
        PackedPosition used = new PackedPosition(usedBase);
        for (int i = 0; i < _batchCount; i++) _window.Store16(Entry(_batch[i]), 0);
        _free = _batch[_batchCount - 1];
        _batchCount = 0;
        _published = used;
        _window.Store16(OldFreeHeadOffset, _free);
        _window.Store16(OldUsedOffset, used.Index);
        StoreWraps(used, used);
    }

    /// <summary>What is free may still be marked, by a batch or by a chain that was being taken.</summary>
    private void ForgetFree(ushort first)
    {
        for (int left = _size; left > 0 && first < _size; left--)
        {
            _window.Store16(Entry(first), 0);
            first = _window.Load16(Entry(first) + NextOffset);
        }
    }

    private bool TryReadTaken(bool[] isTaken, out List<(ulong Counter, ushort Head, Descriptor[] Descriptors)> taken)
    {
        taken = [];
        for (ushort head = 0; head < _size; head++)
        {
            if (_window.Load16(Entry(head)) == 0) continue;
            ushort count = _window.Load16(Entry(head) + CountOffset);
            if (count == 0 || count > _size) return false;
            Descriptor[] descriptors = new Descriptor[count];
            ushort entry = head;
            for (int i = 0; i < count; i++)
            {
                if (entry >= _size || isTaken[entry]) return false;
                isTaken[entry] = true;
                ulong tail = _window.Load64(Entry(entry) + TailOffset);
                descriptors[i] = new Descriptor(_window.Load64(Entry(entry) + AddressOffset), SwapHalves(tail));
                _last[head] = entry;
                _next[entry] = entry = _window.Load16(Entry(entry) + NextOffset);
            }
            taken.Add((_window.Load64(Entry(head) + CounterOffset), head, descriptors));
        }
        return true;
    }

    /// <summary>Starts with a list of what is free, in order. Nothing free is marked any more, so that this may be cut short too.</summary>
    private void Begin(bool[] isTaken, PackedPosition used)
    {
        _free = _size;
        for (int entry = _size - 1; entry >= 0; entry--)
        {
            if (isTaken[entry]) continue;
            Link((ushort)entry, _free);
            _free = (ushort)entry;
        }
        _published = used;
        StoreFree();
        _window.Store16(UsedOffset, used.Index);
        _window.Store16(OldUsedOffset, used.Index);
        StoreWraps(used, used);
    }

    private void StoreFree()
    {
        // What was given back is free too once the driver sees it: it goes on with what is free now.
        if (_batchCount == 0) _window.Store16(FreeHeadOffset, _free);
        else Link(_last[_batch[0]], _free);
        _window.Store16(OldFreeHeadOffset, _free);
    }

    private void StoreWraps(PackedPosition used, PackedPosition before) =>
        _window.Store16(WrapsOffset, (ushort)((used.Wrap ? 1 : 0) | (before.Wrap ? 0x100 : 0)));

    private void Link(ushort entry, ushort next)
    {
        _next[entry] = next;
        _window.Store16(Entry(entry) + NextOffset, next);
    }

    /// <summary>The ring has the length first, then id and flags; the log has it last.</summary>
    private static ulong SwapHalves(ulong tail) => ulong.RotateLeft(tail, 32);

    private static ulong Entry(ushort head) => EntriesOffset + (head * EntryBytes);
}
