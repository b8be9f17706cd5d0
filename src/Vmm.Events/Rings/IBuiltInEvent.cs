namespace Vmm.Events.Rings;

/// <summary>
/// An operation of the library as a value, with everything the kernel may touch for it. It fills a submission entry, makes a result that
/// gives back what was handed in, and, when no one waits for the result any more, hands all of it to the ring, which keeps it until the
/// completion has arrived. Operations of others implement <see cref="IRingEvent{TResult}"/>.
/// </summary>
internal interface IBuiltInEvent<TResult>
{
    /// <summary>Fills the entry. The file is added by the ring.</summary>
    void Prepare(ref IoUringEntry entry);

    /// <summary>The kernel is done: what was handed in goes back to the caller, also on error and on cancellation.</summary>
    TResult Complete(int result);

    /// <summary>The operation was abandoned: what the kernel may still touch goes to the ring.</summary>
    RingCancellation Cancel();

    /// <summary>
    /// Whether it is worth a call of its own now, instead of waiting for the end of the turn. (No default: that would box the value.)
    /// </summary>
    bool IsEager { get; }
}
