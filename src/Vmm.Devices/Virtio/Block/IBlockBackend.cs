using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// Where a block device keeps its sectors. Thread-safe: each queue has an engine of its own, perhaps on a reactor of its own.
/// </summary>
public interface IBlockBackend : IDisposable
{
    /// <summary>For messages: <c>disk image 'a.raw'</c>.</summary>
    string Description { get; }

    /// <summary>Bytes it holds now, a multiple of 512. Thread-safe.</summary>
    ulong CapacityBytes { get; }

    /// <summary>Raised when its capacity has changed. On any thread.</summary>
    event Action? CapacityChanged
    {
        add { }
        remove { }
    }

    /// <summary>Raised with a sentence for the operator when a server went away or is back. On any thread.</summary>
    event Action<string>? Noticed
    {
        add { }
        remove { }
    }

    /// <summary>
    /// Whether each queue may be served by a reactor of its own. False where all engines share something that belongs to one thread:
    /// then one reactor serves every queue, and the engines may share without a lock.
    /// </summary>
    bool QueuesAreIndependent => true;

    /// <summary>The host's file behind it, so that no two disks share one; null if there is none.</summary>
    FileIdentity? Identity => null;

    /// <summary>
    /// The smallest number of bytes that the host reads or writes at once: a power of two from 512. Smaller requests cost it more.
    /// </summary>
    uint PhysicalBlockBytes => 512;

    /// <summary>
    /// The unit of discards, in bytes: a power of two from 512. Parts of a discard that fill no unit are left as they are.
    /// </summary>
    uint DiscardBlockBytes => PhysicalBlockBytes;

    /// <summary>
    /// The sector size of the configuration space, in bytes: a power of two from 512. Requests of other multiples of 512 bytes come all the
    /// same, and must be served.
    /// </summary>
    uint LogicalBlockBytes => 512;

    /// <summary>How often its storage went away and was reached again; null if it has no connection. Any thread.</summary>
    long? Reconnects => null;

    /// <summary>Whether it takes no writes.</summary>
    bool IsReadOnly { get; }

    /// <summary>Makes it larger. It raises <see cref="CapacityChanged"/>.</summary>
    /// <param name="capacityBytes">At least what it has, and a multiple of <see cref="LogicalBlockBytes"/>.</param>
    /// <exception cref="NotSupportedException">Its size is not ours to change.</exception>
    /// <exception cref="IOException">The storage refused.</exception>
    void Grow(ulong capacityBytes) => throw new NotSupportedException(
        $"{Description} gets its size where it comes from: change it there, and the disk follows");

    /// <summary>Makes one queue's access to the sectors. Called on the thread of the reactor that serves the queue.</summary>
    /// <param name="reactor">Where an engine that completes later watches its descriptors.</param>
    /// <param name="onCompleted">Called on that thread after a batch of operations completed outside of <see
    /// cref="IBlockEngine.Start"/>.</param>
    IBlockEngine CreateEngine(IReactor reactor, Action onCompleted);
}

/// <summary>
/// Runs a queue's operations, any number at once up to the queue's size. Used on one reactor's thread; completes them there, in any order.
/// </summary>
public interface IBlockEngine : IDisposable
{
    /// <summary>Takes an operation, and completes it now or later by <see cref="BlockOperation.Complete"/>, exactly once.</summary>
    void Start(BlockOperation operation);

    /// <summary>The turn's operations were all started: hand what was gathered to the kernel. Some may complete now.</summary>
    void Submit();

    /// <summary>
    /// The driver takes its ring away: operations that wait for storage which cannot be reached now are failed, so that the reset does
    /// not wait for it.
    /// </summary>
    void Abandon()
    {
    }
}
