namespace Vmm.Events;

/// <summary>
/// A call that a blocked thread waits for and that can be attached to an endpoint. Its state is one word that caller and reactor share: the number of
/// the endpoint that it is attached to, above a set of bits. An attached call is in no queue: the reactor looks at the word itself.
/// </summary>
/// <remarks><code>
///                    caller: CAS                 reactor             reactor: exchange
/// attached, answered ───────────► Posted ─────────────► (+ Started) ─────────────────► attached, answered
///        │ reactor: CAS (another     │ reactor: not the next in order
///        ▼ call is attached)         ▼
/// not attached ───────────► 0, in the queue ──────────► (+ Started) ─────────────────► answered, attached or not
///              caller: push
/// </code>
/// Withdrawable stands beside Posted or 0 if the caller may give up: of Started and GivenUp the one that is set first then decides whether
/// the work is done. Any other call is written by the reactor once, with its answer. Asleep is the caller's, at any time before the answer:
/// the answer takes it away and finds it, or the caller finds the answer, and no wake-up is lost.
/// </remarks>
internal abstract class AttachableCall : RemoteCall
{
    private protected const long Started = 1;
    private protected const long GivenUp = 2;
    private protected const long Done = 4;
    private protected const long Asleep = 8;
    private const long Posted = 16;
    private protected const long Withdrawable = 32;
    private const int NumberShift = 8;

    /// <summary>The bits that say which endpoint looks at the word.</summary>
    private protected const long EndpointBits = Posted | -1L << NumberShift;

    /// <summary>The word of a call that is in no queue and not answered.</summary>
    internal static long PostedTo(int endpoint) => (long)endpoint << NumberShift | Posted;

    /// <summary>The word of a call that an endpoint answered and goes on looking at; for 0, of one that no endpoint looks at.</summary>
    internal static long AnsweredBy(int endpoint) => endpoint == 0 ? Done : PostedTo(endpoint) | Done;

    /// <summary>The word that caller and reactor share.</summary>
    private protected abstract ref long State { get; }

    /// <summary>The endpoint in whose queue it is; null for an attached call that was posted, and while it is in none.</summary>
    internal RemoteEndpoint? QueuedIn { get; set; }

    /// <summary>Whether it waits to be run, outside of any queue. On the reactor's thread, again and again: it is one load.</summary>
    internal bool IsPosted(long postedWord) => (Volatile.Read(ref State) & ~(Asleep | Withdrawable)) == postedWord;

    /// <summary>It is posted, and other calls are before it: the reactor will queue it. On the reactor's thread.</summary>
    internal void LeaveFor(RemoteEndpoint queue)
    {
        QueuedIn = queue;
        Interlocked.And(ref State, Withdrawable | GivenUp | Asleep);
    }

    /// <summary>Has its next post go through the queue. On the reactor's thread.</summary>
    /// <returns>False if it is in use at the moment.</returns>
    internal bool TryDetach(long answeredWord)
    {
        long seen = Volatile.Read(ref State);
        // Its thread uses another reactor by now, or gave it up.
        if (seen >> NumberShift != answeredWord >> NumberShift || (seen & GivenUp) != 0) return true;
        return seen == answeredWord && Interlocked.CompareExchange(ref State, AnsweredBy(0), answeredWord) == answeredWord;
    }
}
