namespace Vmm.Events.Rings;

/// <summary>
/// What the addresses of a submission entry point at, for engines that carry the entry out themselves. The ring that prepared the entry
/// keeps the memory until the operation is over.
/// </summary>
internal static unsafe class EntryMemory
{
    /// <summary>The descriptor of a FILES_UPDATE.</summary>
    internal static int Descriptor(in IoUringEntry entry) =>
        // SAFETY: the ring put one int there, and keeps it until the operation is over.
        *(int*)entry.Address;

    /// <summary>The time of a TIMEOUT or LINK_TIMEOUT, in milliseconds, rounded up.</summary>
    internal static long Milliseconds(in IoUringEntry entry)
    {
        // SAFETY: the ring put one struct there, and keeps it until the operation is over.
        KernelTimeSpec time = *(KernelTimeSpec*)entry.Address;
        return time.Seconds * 1000 + (time.Nanoseconds + 999_999) / 1_000_000;
    }

    /// <summary>The bytes of all pieces of a READV or WRITEV.</summary>
    internal static long VectorBytes(in IoUringEntry entry)
    {
        long bytes = 0;
        // SAFETY: the ring put a list of so many pieces there, and keeps it until the operation is over.
        foreach (ref readonly IoVec piece in new ReadOnlySpan<IoVec>((void*)entry.Address, (int)entry.Length))
            bytes += piece.Length;
        return bytes;
    }
}
