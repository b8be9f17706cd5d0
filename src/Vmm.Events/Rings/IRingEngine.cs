namespace Vmm.Events.Rings;

/// <summary>
/// What carries out submission entries: the kernel's ring or threads. Used on the reactor's thread. It knows operations by their user data
/// only; whose they are is the ring's business.
/// </summary>
internal interface IRingEngine : IDisposable
{
    /// <summary>For messages: <c>io_uring</c>, <c>threads</c>.</summary>
    string Name { get; }

    /// <summary>Signalled when there are completions and the reactor is not looking.</summary>
    EventFd Wakeful { get; }

    /// <summary>Most entries between two submissions, and so in a chain of links.</summary>
    int EntriesMax { get; }

    /// <summary>Entries that can be prepared now.</summary>
    int Room { get; }

    /// <summary>Takes one entry over; needs <see cref="Room"/>.</summary>
    void Prepare(in IoUringEntry entry);

    /// <summary>Begins everything prepared, and makes ready completions takeable. Does not block.</summary>
    void Submit();

    /// <summary>Takes the oldest completion.</summary>
    bool TryTake(out IoUringCompletion completion);

    /// <summary>Submits, and blocks until there is a completion, or the time is up.</summary>
    void Wait(int timeoutMs);

    /// <summary>Whether completions signal <see cref="Wakeful"/>. After turning it on look for completions once more.</summary>
    void SetSignalling(bool isOn);

    /// <summary>Whether a <see cref="Submit"/> would find something to submit or make something takeable.</summary>
    bool HasWork { get; }

    /// <summary>Whether a transfer may have several pieces of registered memory: IORING_OP_READV_FIXED, since Linux 6.15.</summary>
    bool TakesFixedLists { get; }

    /// <summary>Calls that submitted, and times an overflow was fetched.</summary>
    (long Submissions, long Overflows) Counts { get; }

    /// <summary>Puts a file into a slot of the registered files; -1 takes it out.</summary>
    /// <returns>False if this engine registers no files, or the slot is refused.</returns>
    bool TryRegisterFile(int slot, int fd);

    /// <summary>Puts memory into a slot of the registered buffers; length 0 takes it out.</summary>
    /// <returns>Why not: <see cref="Errno.NotSupported"/> if this engine registers no buffers, or what the kernel says.</returns>
    Errno RegisterBuffer(int slot, nint address, int length);
}
