namespace Vmm.Tests;

/// <summary>What reached a disk, in order, and the states that a power cut could leave of it. Thread-safe.</summary>
internal sealed class DiskLog
{
    private const int SectorBytes = 512;

    private readonly Lock _lock = new();
    private readonly List<Entry> _entries = [];

    private enum Kind
    {
        Write,
        DurableWrite,
        Sync,
        Acknowledged,
    }

    internal int Length
    {
        get { lock (_lock) return _entries.Count; }
    }

    internal int Syncs => Count(Kind.Sync);

    internal int DurableWrites => Count(Kind.DurableWrite);

    internal void Wrote(int offset, ReadOnlySpan<byte> bytes, bool durable) => Add(new Entry(durable ? Kind.DurableWrite : Kind.Write, offset, bytes.ToArray()));

    internal void Synced() => Add(new Entry(Kind.Sync, 0, []));

    /// <summary>The guest's user was told that something is safe: it must be in every state from here on.</summary>
    internal void Acknowledge(int what) => Add(new Entry(Kind.Acknowledged, what, []));

    /// <summary>
    /// A state that a power cut at some point could leave: all that was synced, and of what was written since any part, in its order. A
    /// write that was on its way may be torn between sectors, a durable one too: the last entry of the log had no answer yet.
    /// </summary>
    /// <param name="bytes">Of the disk.</param>
    /// <param name="cut">Entries that had happened: 0 to <see cref="Length"/>.</param>
    /// <param name="random">Chooses the parts.</param>
    internal CrashState StateAt(int bytes, int cut, Random random)
    {
        lock (_lock)
        {
            byte[] disk = new byte[bytes];
            int acknowledged = 0;
            List<Entry> pending = [];
            foreach (Entry entry in _entries.Take(cut))
            {
                switch (entry.Kind)
                {
                    // What a durable write overwrites can't come back.
                    case Kind.Write or Kind.DurableWrite: pending.Add(entry); break;
                    case Kind.Acknowledged: acknowledged = entry.Offset; break;
                    default:
                        foreach (Entry each in pending) each.Bytes.CopyTo(disk, each.Offset);
                        pending.Clear();
                        break;
                }
            }
            // From none to all of what was not synced, also both of these.
            double share = random.Next(5) switch { 0 => 0, 1 => 1, _ => random.NextDouble() };
            // The storage takes one request after the other: what is not the last one was answered.
            Entry? unanswered = cut > 0 && _entries[cut - 1].Kind == Kind.DurableWrite ? _entries[cut - 1] : null;
            foreach (Entry each in pending)
            {
                if (each.Kind == Kind.DurableWrite && !ReferenceEquals(each, unanswered)) each.Bytes.CopyTo(disk, each.Offset);
                else if (random.NextDouble() < share) Tear(each, disk, random);
            }
            return new CrashState(disk, acknowledged);
        }
    }

    private static void Tear(Entry write, byte[] disk, Random random)
    {
        int sectors = write.Bytes.Length / SectorBytes;
        bool isTorn = random.Next(4) == 0;
        for (int i = 0; i < sectors; i++)
        {
            if (isTorn && random.Next(2) == 0) continue;
            write.Bytes.AsSpan(i * SectorBytes, SectorBytes).CopyTo(disk.AsSpan(write.Offset + (i * SectorBytes)));
        }
    }

    private int Count(Kind kind)
    {
        lock (_lock) return _entries.Count(entry => entry.Kind == kind);
    }

    private void Add(Entry entry)
    {
        lock (_lock) _entries.Add(entry);
    }

    private sealed record Entry(Kind Kind, int Offset, byte[] Bytes);
}

/// <summary>A disk after a power cut.</summary>
/// <param name="Disk">Its bytes.</param>
/// <param name="Acknowledged">The last thing that was said to be safe before.</param>
internal sealed record CrashState(byte[] Disk, int Acknowledged);
