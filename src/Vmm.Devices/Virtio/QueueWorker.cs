namespace Vmm.Devices;

/// <summary>Why a queue stops.</summary>
public enum QuiesceReason
{
    /// <summary>
    /// The machine is paused, or the queue's position is asked for. The queue goes on where it stopped: give back by
    /// <see cref="VirtQueue.Unpop"/> what is not done, and remember how far it was.
    /// </summary>
    Pause,

    /// <summary>
    /// The driver switched the queue off, and may switch it on again. As for <see cref="Pause"/>; what comes from the host is for other
    /// queues meanwhile.
    /// </summary>
    Disable,

    /// <summary>The driver takes its ring away: complete or give up what was taken, and forget it.</summary>
    Reset,
}

/// <summary>
/// One queue at work. A device makes a worker when the queue starts, and keeps in it what belongs to the queue alone. It lives until the
/// queue is reset: a pause stops it, and it goes on after that with all it knows. Every member runs on the thread of the reactor that
/// serves the queue.
/// </summary>
/// <remarks>
/// <code>
/// made → Serve … Serve → Quiesce(Pause) → Resume → Serve … → Quiesce(Reset) → Dispose
///                                      └──────────────────→ Quiesce(Reset) → Dispose
/// </code>
/// </remarks>
public abstract class QueueWorker : IDisposable
{
    /// <summary>Makes a worker for a queue that starts. The queue is served once right after, as if it had been kicked.</summary>
    protected QueueWorker(QueueContext context)
    {
        ArgumentNullException.ThrowIfNull(context);
        Context = context;
    }

    /// <summary>What it works with.</summary>
    protected QueueContext Context { get; }

    /// <summary>The queue. Another object after a pause, so do not keep it.</summary>
    protected VirtQueue Queue => Context.Queue;

    /// <summary>Serves the queue: pops what it can, pushes what is done. It need not publish.</summary>
    public abstract void Serve();

    /// <summary>
    /// The queue gets no more kicks. It is quiet when every popped chain was pushed or put back, and its stop is complete then: operations
    /// of the kernel may still complete after this returned.
    /// </summary>
    public virtual void Quiesce(QuiesceReason reason)
    {
    }

    /// <summary>The queue goes on after a pause, and is served once right after.</summary>
    public virtual void Resume()
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>The queue was reset and is quiet: releases what was kept for it.</summary>
    protected virtual void Dispose(bool disposing)
    {
    }
}

/// <summary>The worker of a queue that is served by one method and keeps nothing between its turns.</summary>
internal sealed class SimpleWorker(QueueContext context, Action<QueueContext> serve) : QueueWorker(context)
{
    public override void Serve() => serve(Context);
}
