namespace Vmm.Events.Rings;

/// <summary>
/// An operation in its raw form, for devices: made once, begun any number of times, one at a time, and completing into a virtual call.
/// Beginning and completing it allocate nothing. The caller keeps the memory that its addresses point to alive until
/// <see cref="Complete"/>, cancelled or not.
/// </summary>
public abstract class RingRequest
{
    internal const int Idle = -1;
    internal const int Held = -2;

    /// <summary>The submission, as it will be or was handed to the engine.</summary>
    internal IoUringEntry Entry;

    /// <summary>The next operation that waits for room.</summary>
    internal RingRequest? NextHeld;

    /// <summary>Its number in the ring's table; <see cref="Idle"/> or <see cref="Held"/>.</summary>
    internal int Slot = Idle;

    /// <summary>The file it is on, when that is counted.</summary>
    internal RingFile? File;

    internal bool CancelWanted;

    /// <summary>Whether it was begun and has not completed.</summary>
    public bool IsInFlight => Slot != Idle;

    /// <summary>
    /// The operation is over and the kernel touches none of its memory any more. On the reactor's thread; it may be begun again in here.
    /// </summary>
    /// <param name="result">
    /// What the call gave, mostly bytes; or an error number with its sign turned (<c>-(int)Errno.InputOutput</c>).
    /// </param>
    protected internal abstract void Complete(int result);
}
