using Vmm.Events;

namespace Vmm.Devices.Simulation;

/// <summary>
/// The ioeventfds of a simulated machine. A store looks them up on its vCPU's thread, without a lock; a change publishes a new sorted
/// table.
/// </summary>
internal sealed class SimulatedIoEventFds : IIoEventFds
{
    private readonly Lock _changes = new();
    private Entry[] _entries = [];
    private long _signals;

    /// <summary>Stores that became signals.</summary>
    public long Signals => Volatile.Read(ref _signals);

    public void Add(ulong address, int width, ulong? match, EventFd kick)
    {
        if (width is not (1 or 2 or 4 or 8))
            throw new ArgumentOutOfRangeException(nameof(width), width, "an ioeventfd is for a write of 1, 2, 4 or 8 bytes");
        lock (_changes)
        {
            if (Array.Exists(_entries, entry => entry.Conflicts(address, width, match)))
                throw new InvalidOperationException($"a write of {width} bytes to 0x{address:x} signals another eventfd already");
            int at = Array.FindIndex(_entries, entry => entry.Address > address);
            if (at < 0) at = _entries.Length;
            Volatile.Write(ref _entries, [.. _entries.AsSpan(0, at), new Entry(address, width, match, kick), .. _entries.AsSpan(at)]);
        }
    }

    public bool Remove(ulong address, int width, ulong? match)
    {
        lock (_changes)
        {
            int at = Array.FindIndex(_entries, entry => entry.Address == address && entry.Width == width && entry.Match == match);
            if (at < 0) return false;
            Volatile.Write(ref _entries, [.. _entries.AsSpan(0, at), .. _entries.AsSpan(at + 1)]);
            return true;
        }
    }

    /// <summary>Signals the eventfd that a store stands for.</summary>
    /// <returns>False if it stands for none and goes to the bus.</returns>
    internal bool TrySignal(ulong address, int width, ulong value)
    {
        Entry[] entries = Volatile.Read(ref _entries);
        for (int i = FirstAt(entries, address); i < entries.Length && entries[i].Address == address; i++)
        {
            if (entries[i].Width != width || (entries[i].Match is { } match && match != value)) continue;
            try
            {
                entries[i].Kick.Signal();
            }
            catch (ObjectDisposedException)
            {
                // Removed and disposed while this store ran: the store does nothing, as if it had come later.
                return false;
            }
            Interlocked.Increment(ref _signals);
            return true;
        }
        return false;
    }

    private static int FirstAt(Entry[] entries, ulong address)
    {
        int low = 0;
        int high = entries.Length;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (entries[middle].Address < address) low = middle + 1; else high = middle;
        }
        return low;
    }

    private readonly record struct Entry(ulong Address, int Width, ulong? Match, EventFd Kick)
    {
        internal bool Conflicts(ulong address, int width, ulong? match) =>
            Address == address && Width == width && (Match is null || match is null || Match == match);
    }
}
