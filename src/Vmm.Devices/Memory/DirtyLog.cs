namespace Vmm.Devices;

/// <summary>
/// Which pages of guest memory devices wrote to, one bit for each 4 KiB page from guest address 0 on, in memory shared with a front-end
/// that copies the guest elsewhere while it runs (vhost-user, VHOST_USER_SET_LOG_BASE). Thread-safe.
/// </summary>
public sealed unsafe class DirtyLog : IDisposable
{
    private const int PageShift = 12;
    private readonly GuestRegion _log;

    /// <param name="log">The shared memory of the log; its guest address means nothing. Taken over.</param>
    public DirtyLog(GuestRegion log)
    {
        ArgumentNullException.ThrowIfNull(log);
        _log = log;
    }

    /// <summary>Marks the pages of a range that was written. Pages beyond the log are not marked.</summary>
    public void Mark(ulong address, ulong length)
    {
        if (length == 0) return;
        ulong last = Math.Min((address + length - 1) >> PageShift, _log.Length / sizeof(uint) * 32 - 1);
        for (ulong page = address >> PageShift; page <= last; page++)
        {
            // SAFETY: the word of the page lies inside the log, which stays mapped while this object is in use; mappings are page-aligned
            // and the log's offset is checked to be a multiple of 8 when it is set up, so the word is aligned.
            ref int word = ref ((int*)_log.HostAddress)[page / 32];
            int bit = 1 << (int)(page % 32);
            if ((Volatile.Read(ref word) & bit) == 0) Interlocked.Or(ref word, bit);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _log.Dispose();
}
