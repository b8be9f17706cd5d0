using System.Diagnostics.CodeAnalysis;

namespace Vmm.Devices;

// Contract: completed by its owner.
/// <summary>
/// The device's side of a virtqueue (virtio 1.2 § 2.6): takes chains the driver made available and gives them back used. Devices see
/// this view only; whether the ring is split or packed is the queue's own business. Used on the reactor thread that serves the queue.
/// </summary>
public abstract class VirtQueue
{
    /// <summary>The queue's number in its device.</summary>
    public int Index { get; protected init; }

    /// <summary>Entries the driver gave the ring.</summary>
    public ushort Size { get; protected init; }

    /// <summary>The memory the ring and its buffers live in.</summary>
    public GuestMemory Memory { get; protected init; } = null!;

    /// <summary>Chains popped and not pushed back yet.</summary>
    public int InFlight { get; protected set; }

    /// <summary>Takes the next available chain.</summary>
    /// <returns>
    /// False if there is none, if the turn's budget is used up, or if the ring is malformed (then the guest fault was reported and the
    /// queue gives nothing until it is reset).
    /// </returns>
    public abstract bool TryPop([NotNullWhen(true)] out DescriptorChain? chain);

    /// <summary>Gives a chain back. The driver sees it with the next <see cref="Publish"/>; the chain object must not be used after.</summary>
    /// <param name="chain">A chain this queue popped.</param>
    /// <param name="written">Bytes written to the device-writable part, from its start.</param>
    public abstract void Push(DescriptorChain chain, uint written);

    /// <summary>Makes pushed chains visible to the driver, and interrupts it if it wants that. Once a batch, not once a request.</summary>
    public abstract void Publish();

    /// <summary>Reports what the driver did wrong with this queue: the device needs a reset.</summary>
    public abstract void Fault(GuestFault fault);

    /// <summary>Chains <see cref="TryPop"/> may still give in this turn.</summary>
    internal int TurnBudget { get; private protected set; }

    /// <summary>Calls back, now or after a later push and publish, when nothing is in flight. On the queue's thread.</summary>
    internal abstract void WhenQuiet(Action onQuiet);

    /// <summary>Counts a kick for the statistics.</summary>
    internal abstract void CountKick();

    /// <summary>Gives the queue a number of chains for this turn; <see cref="TryPop"/> then stops.</summary>
    internal abstract void BeginTurn(int chainsMax);

    /// <summary>Asks the driver not to kick.</summary>
    internal abstract void DisableKicks();

    /// <summary>Asks the driver to kick for the next chain.</summary>
    /// <returns>True if chains became available in the meantime: no kick will come for them.</returns>
    internal abstract bool EnableKicks();
}

/// <summary>
/// One request: a device-readable part followed by a device-writable one, each in any number of buffers. Pooled by its queue; valid from pop to push.
/// </summary>
public sealed class DescriptorChain
{
    /// <summary>The queue it came from.</summary>
    public VirtQueue Queue => throw new NotImplementedException();

    /// <summary>Bytes the device may read.</summary>
    public ulong ReadableLength => throw new NotImplementedException();

    /// <summary>Bytes the device may write.</summary>
    public ulong WritableLength => throw new NotImplementedException();
}
