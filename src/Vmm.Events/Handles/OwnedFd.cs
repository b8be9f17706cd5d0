namespace Vmm.Events;

/// <summary>
/// A file descriptor that is closed exactly once, when its last user is done with it. 0 is a valid descriptor.
/// Thread-safe, as every <see cref="SafeHandle"/>.
/// </summary>
public class OwnedFd : SafeHandle
{
    private static readonly nint Closed = -1;

    /// <summary>Takes over an open descriptor.</summary>
    /// <param name="fd">The descriptor's number, 0 or more.</param>
    /// <exception cref="ArgumentOutOfRangeException">The number is negative.</exception>
    public OwnedFd(int fd) : base(Closed, ownsHandle: true)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(fd);
        SetHandle(fd);
    }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == Closed;

    /// <summary>The number, for a system call. It stays valid only while this object is alive and not disposed.</summary>
    /// <exception cref="ObjectDisposedException">The descriptor was disposed.</exception>
    public int Number
    {
        get
        {
            ObjectDisposedException.ThrowIf(IsClosed, this);
            return (int)handle;
        }
    }

    /// <summary>A second descriptor, close-on-exec, of the same open file description (fcntl(2), F_DUPFD_CLOEXEC).</summary>
    /// <exception cref="KernelException">The process has no descriptor left.</exception>
    public OwnedFd Duplicate() => new(DuplicateNumber());

    /// <summary>The number of a fresh descriptor of the same open file description, for a typed duplicate.</summary>
    protected int DuplicateNumber()
    {
        int copy = Libc.Fcntl(Number, Libc.F_DUPFD_CLOEXEC, 0);
        return copy >= 0 ? copy : throw new KernelException($"cannot duplicate file descriptor {handle}", Libc.LastError);
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => Libc.Close((int)handle) == 0;

    /// <inheritdoc/>
    public override string ToString() => IsClosed ? $"{GetType().Name}(closed)" : $"{GetType().Name}({handle})";
}
