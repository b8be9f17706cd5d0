using Vmm.Events.Rings;

namespace Vmm.Examples.OwnOperation;

/// <summary>What a program will do with a range of a file (posix_fadvise(2)).</summary>
public enum Advice
{
    /// <summary>Nothing special.</summary>
    Normal = 0,
    /// <summary>It will be read soon: the kernel begins to.</summary>
    WillNeed = 3,
    /// <summary>It will not be read soon: the kernel may drop it from its cache.</summary>
    DontNeed = 4,
}

/// <summary>
/// An operation that the ring does not have: advice about a range of a file (IORING_OP_FADVISE). Numbers only, so there is nothing to give
/// back and nothing that the
/// ring must keep when it is abandoned.
/// </summary>
/// <example><c>await ring.Begin&lt;FileAdvice, RingResult&gt;(new FileAdvice(Advice.DontNeed, 0, 1 &lt;&lt; 20), file)</c></example>
public readonly struct FileAdvice(Advice advice, ulong offset, uint length) : IRingEvent<RingResult>
{
    private const byte Fadvise = 24; // IORING_OP_FADVISE

    /// <inheritdoc/>
    public bool IsEager => false;

    /// <inheritdoc/>
    public unsafe void Prepare(RingEntry* entry)
    {
        // SAFETY: the entry is the ring's for the length of the call, and the operation takes no address.
        entry->Operation = Fadvise;
        entry->Offset = offset;
        entry->Length = length;
        entry->Flags = (uint)advice;
    }

    /// <inheritdoc/>
    public RingResult Complete(int result) => new(result);

    /// <inheritdoc/>
    public RingCancellation Cancel() => RingCancellation.None;
}
