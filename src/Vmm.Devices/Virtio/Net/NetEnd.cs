using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// The descriptor at the end of a cable, which may go and be replaced while sources and sinks use duplicates of it. Thread-safe.
/// </summary>
/// <param name="first">The one there is now, taken over; null for none yet.</param>
internal sealed class NetEnd(OwnedFd? first) : IDisposable
{
    private readonly Lock _lock = new();
    private OwnedFd? _current = first;

    /// <summary>Whether there is one now.</summary>
    internal bool IsThere => Volatile.Read(ref _current) is not null;

    /// <summary>The descriptor of this moment, as a duplicate of the caller's own; null if there is none, or if it is the one the caller
    /// has.</summary>
    /// <param name="mine">The one the caller has a duplicate of; the one of this moment after.</param>
    internal OwnedFd? TakeChanged(ref OwnedFd? mine)
    {
        // Without the lock for the usual case: nothing has changed.
        if (ReferenceEquals(mine, Volatile.Read(ref _current))) return null;
        lock (_lock)
        {
            mine = _current;
            return _current?.Duplicate();
        }
    }

    /// <summary>Takes another one in place of the one before, which is closed.</summary>
    internal void Change(OwnedFd? to)
    {
        lock (_lock)
        {
            _current?.Dispose();
            Volatile.Write(ref _current, to);
        }
    }

    /// <summary>Does something with the descriptor of this moment.</summary>
    /// <returns>False if there is none.</returns>
    internal bool TryUse(Action<OwnedFd> use)
    {
        lock (_lock)
        {
            if (_current is null) return false;
            use(_current);
            return true;
        }
    }

    public void Dispose() => Change(null);
}
