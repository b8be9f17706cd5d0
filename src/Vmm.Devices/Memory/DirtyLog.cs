namespace Vmm.Devices;

/// <summary>
/// Which pages of guest memory devices wrote to, one bit for each 4 KiB page from guest address 0 on, in memory shared with a front-end
/// that copies the guest elsewhere while it runs (vhost-user, VHOST_USER_SET_LOG_BASE). Thread-safe.
/// </summary>
internal sealed unsafe class DirtyLog : IDirtyTracker, IDisposable
{
    private readonly GuestRegion _log;

    /// <param name="log">The shared memory of the log; its guest address means nothing. Taken over.</param>
    public DirtyLog(GuestRegion log)
    {
        ArgumentNullException.ThrowIfNull(log);
        _log = log;
    }

    // SAFETY: the words lie inside the log, which stays mapped while this object is in use; mappings are page-aligned and the log's offset
    // is checked to be a multiple of 8 when it is set up, so they are aligned.
    private Span<ulong> Words => new((void*)_log.HostAddress, (int)(_log.Length / sizeof(ulong)));

    public void Mark(ulong address, ulong length) => DirtyPages.Mark(Words, address, length);

    public void Take(ulong address, Span<ulong> pages) => DirtyPages.Take(Words, address, pages);

    public void Dispose() => _log.Dispose();
}
