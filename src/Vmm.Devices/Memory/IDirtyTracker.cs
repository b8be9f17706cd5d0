namespace Vmm.Devices;

/// <summary>
/// Which pages of guest memory were written: by devices, which mark them, and by a guest, if the tracker asks what runs it. Thread-safe.
/// </summary>
public interface IDirtyTracker
{
    /// <summary>Marks the pages of a range that was written. Pages that the tracker has no room for are not marked.</summary>
    /// <param name="address">Guest-physical address of the first byte.</param>
    /// <param name="length">Bytes.</param>
    void Mark(ulong address, ulong length);

    /// <summary>Adds the pages that were written since the last call to a set, and forgets them here.</summary>
    /// <param name="address">Guest-physical address of the set's first page, a multiple of 256 KiB.</param>
    /// <param name="pages">The set: one bit for each 4 KiB page, the lowest of a word first.</param>
    void Take(ulong address, Span<ulong> pages);
}
