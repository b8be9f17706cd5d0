namespace Vmm.Devices;

/// <summary>What is between a guest and the sectors of its disk.</summary>
public enum DiskCache
{
    /// <summary>The host's page cache; what was written is durable after the guest's flush.</summary>
    WriteBack,
    /// <summary>Nothing of the host's: O_DIRECT (open(2)). What was written is durable after the guest's flush. Files only.</summary>
    None,
    /// <summary>
    /// The host's page cache for reads; each write is durable when it completes, and the guest sees a disk without a cache.
    /// </summary>
    WriteThrough,
    /// <summary>
    /// The host's page cache while a request is carried out, and not after: RWF_DONTCACHE (preadv2(2)). Where the kernel or the file
    /// system has it not, <see cref="WriteBack"/>. Files only.
    /// </summary>
    DontCache,
}
