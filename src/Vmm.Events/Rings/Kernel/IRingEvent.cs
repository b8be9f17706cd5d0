namespace Vmm.Events.Rings;

/// <summary>
/// An operation of one's own for <see cref="IoRing.Begin{TEvent, TResult}"/>: a value with everything that the kernel may touch for it.
/// Unsafe code only can write one, because a wrong address in its entry has the kernel write anywhere. All members are called on the
/// reactor's thread.
/// </summary>
/// <remarks>
/// An operation completes once: requests with several completions (multishot) and those that skip theirs are not for this. Where threads
/// stand in for the kernel's ring, an operation that the library itself does not have ends with <see cref="Errno.Invalid"/>.
/// </remarks>
/// <typeparam name="TResult">What awaiting it gives.</typeparam>
/// <example>docs/examples/OwnOperation</example>
public unsafe interface IRingEvent<TResult>
{
    /// <summary>
    /// Fills the entry, which is all zero. The ring adds the file, if the operation is on one, and its own flags and user data.
    /// </summary>
    /// <param name="entry">Valid during the call.</param>
    void Prepare(RingEntry* entry);

    /// <summary>The kernel is done. What was handed in goes back to the caller, also on error and on cancellation.</summary>
    /// <param name="result">What the call gave, or an error number with its sign turned.</param>
    TResult Complete(int result);

    /// <summary>
    /// The operation was abandoned, and <see cref="Complete"/> will not be called: what the kernel may still touch goes to the ring, which
    /// releases it when the completion has arrived.
    /// </summary>
    RingCancellation Cancel();

    /// <summary>
    /// Whether it is worth a system call of its own now, instead of waiting for the end of the turn. (No default: that would box the
    /// value.)
    /// </summary>
    bool IsEager { get; }
}
