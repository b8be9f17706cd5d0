namespace Vmm.Events;

/// <summary>How a reactor waits. One virtual call per wait, none per event. Used by the reactor's thread only.</summary>
internal interface IPoller : IDisposable
{
    /// <summary>What it waits with.</summary>
    PollerKind Kind { get; }

    /// <summary>The time its waits take, in milliseconds from some start.</summary>
    long NowMs => Environment.TickCount64;

    /// <summary>Starts to watch a descriptor.</summary>
    /// <returns>What the kernel said.</returns>
    Errno Add(int fd, uint bits, ulong data);

    /// <summary>Changes the interest in a descriptor, or re-arms a one-shot one.</summary>
    Errno Modify(int fd, uint bits, ulong data);

    /// <summary>Stops watching. No event of it is reported by any later wait.</summary>
    Errno Remove(int fd, ulong data);

    /// <summary>Asks for a few events before a wait that may block, where that is likely to spare the wait.</summary>
    /// <returns>The events, valid until the next call; none also where it was not worth asking.</returns>
    ReadOnlySpan<ReadyEvent> Look() => default;

    /// <summary>Waits for events; an interrupted wait gives none.</summary>
    /// <param name="timeoutMs">Milliseconds; -1 waits for ever, 0 not at all.</param>
    /// <returns>The events, valid until the next call.</returns>
    ReadOnlySpan<ReadyEvent> Wait(int timeoutMs);

    /// <summary>Forgets every watch, in the kernel too; the reactor adds the live ones again.</summary>
    void Rebuild();

    /// <summary>
    /// The thread that waited will not wait any more, nor will another: what is bound to it can be let go. Watches may still be removed.
    /// </summary>
    void OwnerLeaves();
}
