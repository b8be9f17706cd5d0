namespace Vmm.Devices;

/// <summary>
/// Which pages of guest memory were written: by devices, which mark them, and by a guest, if the tracker asks what runs it. Thread-safe.
/// </summary>
internal interface IDirtyTracker
{
    /// <summary>Marks the pages of a range that was written. Pages that the tracker has no room for are not marked.</summary>
    void Mark(ulong address, ulong length);

    /// <summary>
    /// Adds the pages that were written since the last call to a set, and forgets them here. The set has one bit for each 4 KiB page, the
    /// lowest of a word first; its first page is at an address that is a multiple of 256 KiB.
    /// </summary>
    void Take(ulong address, Span<ulong> pages);
}
