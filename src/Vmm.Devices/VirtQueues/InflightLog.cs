namespace Vmm.Devices;

/// <summary>
/// Which chains of a split queue were taken and not given back yet, in memory that outlives this process (vhost-user protocol, "Inflight I/O
/// tracking"). Whoever serves the ring next takes them again: nothing is lost if this process is killed between any two stores. Each member does
/// its stores in the order the protocol names, which x86-64 keeps. The memory is the front-end's too, so nothing read from it is trusted.
/// </summary>
internal sealed class InflightLog
{
    private const ulong VersionOffset = 8, DescriptorsOffset = 10, BatchHeadOffset = 12, UsedIndexOffset = 14, EntriesOffset = 16;
    private const ulong EntryBytes = 16, EntryNextOffset = 6, EntryCounterOffset = 8;
    private const ushort Version = 1;

    /// <summary>Regions of queues start at multiples of this, as in the back-ends that came first: a log may be handed from one to another.</summary>
    private const ulong Alignment = 64;

    private readonly GuestWindow _window;
    private readonly ushort _size;
    private readonly ushort[] _batch;
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

    /// <summary>Takes up what the process before left: finishes its last batch, and tells what it had taken and not given back.</summary>
    /// <param name="usedIndex">The used index of the ring, as the driver sees it.</param>
    /// <returns>Heads, in the order they were taken.</returns>
    internal ushort[] Recover(ushort usedIndex)
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
        return [.. taken.Select(entry => entry.Head)];
    }

    /// <summary>A chain was taken.</summary>
    internal void Taken(ushort head)
    {
        _window.Store64(Entry(head) + EntryCounterOffset, _counter++);
        _window.Store16(Entry(head), 1);
    }

    /// <summary>A chain that was taken was put back.</summary>
    internal void NotTaken(ushort head) => _window.Store16(Entry(head), 0);

    /// <summary>A chain's used entry was written; the driver does not see it yet.</summary>
    internal void GivenBack(ushort head)
    {
        _window.Store16(Entry(head) + EntryNextOffset, _window.Load16(BatchHeadOffset));
        _window.Store16(BatchHeadOffset, head);
        _batch[_batchCount++] = head;
    }

    /// <summary>The driver sees the used entries up to an index.</summary>
    internal void Published(ushort usedIndex)
    {
        for (int i = 0; i < _batchCount; i++) _window.Store16(Entry(_batch[i]), 0);
        _batchCount = 0;
        _window.Store16(UsedIndexOffset, usedIndex);
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
