namespace Vmm.Devices;

/// <summary>
/// Where a queue notes which chains it has taken and not given back, so that another process can go on if this one is killed between any
/// two stores. It is called in the order of the members, on the queue's thread. A chain has a name in the journal, which
/// <see cref="Taken"/> gives.
/// </summary>
internal interface IQueueJournal
{
    /// <summary>Chains that the process before had taken and that this queue has not taken again yet: they come first.</summary>
    int Retaken { get; }

    /// <summary>Entries of a packed ring that all those chains had at the start.</summary>
    int RetakenDescriptors { get; }

    /// <summary>Takes the next of those chains again. There is one.</summary>
    RetakenChain Retake();

    /// <summary>A chain that was taken again was put back.</summary>
    void PutBack(ushort name);

    /// <summary>A chain is being taken from the ring; its descriptors follow.</summary>
    void Taking();

    /// <summary>A descriptor, in the ring, of the chain that is being taken. By value: the walk keeps it in registers.</summary>
    void Add(Descriptor descriptor);

    /// <summary>The chain was taken.</summary>
    /// <param name="id">Its head (split) or buffer id (packed).</param>
    /// <returns>Its name.</returns>
    ushort Taken(ushort id);

    /// <summary>The chain that was being taken is malformed.</summary>
    void Abandon();

    /// <summary>A chain that was taken was put back into the ring.</summary>
    void NotTaken(ushort name);

    /// <summary>A chain's used entry was written; the driver does not see it yet.</summary>
    void GivenBack(ushort name);

    /// <summary>The driver is about to see what was given back.</summary>
    /// <param name="usedBase">Up to where, as <see cref="QueueConfiguration.UsedBase"/>.</param>
    void Publishing(ushort usedBase);

    /// <summary>The driver sees it.</summary>
    void Published(ushort usedBase);
}

/// <summary>A chain that the process before had taken.</summary>
/// <param name="Name">Its name in the journal.</param>
/// <param name="Descriptors">What it was in a packed ring, where it may be overwritten. Empty for a split ring, which still has it: the
/// name is its head.</param>
internal readonly record struct RetakenChain(ushort Name, Descriptor[] Descriptors);
