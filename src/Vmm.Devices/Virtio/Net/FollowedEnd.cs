using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// The descriptor at the end of a cable as one that reads or writes it has it: a duplicate of its own, and what watches that. It follows
/// when the descriptor is replaced. On one reactor's thread.
/// </summary>
/// <param name="end">The end of the cable.</param>
/// <param name="watch">Watches a descriptor.</param>
internal sealed class FollowedEnd<TWatch>(NetEnd end, Func<OwnedFd, TWatch> watch) : IDisposable where TWatch : class, IDisposable
{
    private OwnedFd? _known;

    /// <summary>The descriptor; null while there is none.</summary>
    internal OwnedFd? Fd { get; private set; }

    /// <summary>What watches it.</summary>
    internal TWatch? Watch { get; private set; }

    /// <summary>Takes the descriptor of this moment.</summary>
    /// <returns>Whether it is another one than before.</returns>
    internal bool Follow()
    {
        OwnedFd? changed = end.TakeChanged(ref _known);
        if (changed is null && (_known is not null || Fd is null)) return false;
        Dispose();
        Fd = changed;
        Watch = changed is null ? null : watch(changed);
        return true;
    }

    /// <summary>The descriptor is gone: so it is for all who follow it.</summary>
    internal void Lose()
    {
        end.Change(null);
        Follow();
    }

    public void Dispose()
    {
        Watch?.Dispose();
        Fd?.Dispose();
        (Watch, Fd) = (null, null);
    }
}
