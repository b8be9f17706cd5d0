namespace Vmm.Events.Rings;

/// <summary>
/// A file as a ring knows it: registered with the kernel where that is possible, so that operations on it skip the look-up of the
/// descriptor. It holds the descriptor open until it is disposed and the last operation on it is over. Used on the reactor's thread.
/// </summary>
public sealed class RingFile : IDisposable
{
    internal const int NotRegistered = -1;

    private readonly IoRing _ring;
    private readonly int _slot;
    private List<OwnedFd>? _replaced;
    private int _inFlight;
    private bool _disposed;

    internal RingFile(IoRing ring, OwnedFd fd, int slot)
    {
        bool held = false;
        fd.DangerousAddRef(ref held);
        _ring = ring;
        _slot = slot;
        Fd = fd;
        Number = (int)fd.DangerousGetHandle();
    }

    /// <summary>The descriptor.</summary>
    public OwnedFd Fd { get; private set; }

    /// <summary>Whether the kernel has it in the ring's table of files.</summary>
    public bool IsRegistered => _slot != NotRegistered;

    /// <summary>
    /// Whether a <see cref="IoRing.WriteAll"/> to it as a stream was aborted: part of what it was to write may be out, and how much is not
    /// known. A protocol cannot go on behind half a frame, so the stream is to be closed.
    /// </summary>
    public bool IsCut { get; internal set; }

    internal int Number { get; private set; }

    internal int Slot => _slot;

    /// <summary>Lets go of the descriptor, now or with the end of the last operation on it. Does not close it for others.</summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        if (_inFlight == 0) Release();
    }

    internal void ThrowIfDisposed() => ObjectDisposedException.ThrowIf(_disposed, this);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Begin(ref IoUringEntry entry)
    {
        Hold();
        entry.Fd = IsRegistered ? _slot : Number;
        if (IsRegistered) entry.Flags |= IoUringEntryFlags.FixedFile;
    }

    /// <summary>Keeps it open for an operation that is on another file.</summary>
    internal void Hold()
    {
        ThrowIfDisposed();
        _inFlight++;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void End()
    {
        if (--_inFlight > 0) return;
        ReleaseReplaced();
        if (_disposed) Release();
    }

    /// <summary>The ring's table has another descriptor in its place. Operations that began before may still be on the old one.</summary>
    internal void Replace(OwnedFd replacement)
    {
        (_replaced ??= []).Add(Fd);
        Fd = replacement;
        Number = (int)replacement.DangerousGetHandle();
    }

    private void ReleaseReplaced()
    {
        if (_replaced is null) return;
        foreach (OwnedFd replaced in _replaced) replaced.DangerousRelease();
        _replaced = null;
    }

    private void Release()
    {
        _ring.Forget(this);
        Fd.DangerousRelease();
    }
}
