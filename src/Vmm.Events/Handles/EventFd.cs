namespace Vmm.Events;

/// <summary>
/// A kernel counter that wakes its waiters (eventfd(2)): it carries a kick, a call, a doorbell. Always non-blocking and
/// close-on-exec. Any thread may signal it.
/// </summary>
public sealed class EventFd : OwnedFd
{
    /// <summary>
    /// The kernel gives out the lowest free number, and never this one: a process has at most some millions (fs.nr_open).
    /// </summary>
    private const int NumberOfNoFile = int.MaxValue;

    /// <summary>Makes a counter.</summary>
    /// <param name="initial">Its first value; other than 0 it is readable at once.</param>
    /// <param name="semaphore">Whether a read takes 1 instead of everything (EFD_SEMAPHORE).</param>
    /// <exception cref="KernelException">The process has no descriptor left.</exception>
    public EventFd(uint initial = 0, bool semaphore = false) : base(Create(initial, semaphore))
    {
    }

    private EventFd(int fd) : base(fd)
    {
    }

    /// <summary>
    /// Stands in for the counter in a test. Such a descriptor has a number that no file has, so that a call with it is refused, and comes
    /// here.
    /// </summary>
    private readonly IEventCounter? _standIn;

    private EventFd(IEventCounter standIn) : base(NumberOfNoFile) => _standIn = standIn;

    /// <summary>
    /// For tests of handlers: an eventfd that is no descriptor and has a mock behind it. A reactor cannot watch it; a handler that gets it
    /// signals and reads the mock.
    /// </summary>
    public static EventFd Of(IEventCounter standIn)
    {
        ArgumentNullException.ThrowIfNull(standIn);
        return new EventFd(standIn);
    }

    /// <summary>Takes over a descriptor that is known to be an eventfd, and makes it non-blocking.</summary>
    /// <exception cref="KernelException">The descriptor is not open.</exception>
    public static EventFd Adopt(int fd)
    {
        Platform.ThrowIfForeign();
        int flags = Libc.Fcntl(fd, Libc.F_GETFL, 0);
        if (flags < 0 || Libc.Fcntl(fd, Libc.F_SETFL, flags | Libc.O_NONBLOCK) < 0)
            throw new KernelException($"cannot adopt file descriptor {fd} as an eventfd", Libc.LastError);
        return new EventFd(fd);
    }

    /// <summary>A second descriptor of the same counter.</summary>
    /// <exception cref="KernelException">The process has no descriptor left.</exception>
    public new EventFd Duplicate() => new(DuplicateNumber());

    /// <summary>
    /// Adds to the counter and so wakes its waiters. A counter that is full is already readable: that counts as delivered.
    /// </summary>
    /// <exception cref="ObjectDisposedException">The descriptor was disposed.</exception>
    public void Signal(ulong count = 1)
    {
        bool held = false;
        try
        {
            DangerousAddRef(ref held);
            Errno errno = Libc.WriteCounter((int)handle, count);
            if (errno is Errno.None or Errno.Again) return;
            if (_standIn is null) throw new KernelException($"cannot signal {this}", errno);
            _standIn.Signal(count);
        }
        finally
        {
            if (held) DangerousRelease();
        }
    }

    /// <summary>Takes the counter's value and sets it to 0 (or takes 1 of a semaphore).</summary>
    /// <returns>False, and 0, if the counter was 0.</returns>
    /// <exception cref="ObjectDisposedException">The descriptor was disposed.</exception>
    public bool TryRead(out ulong count)
    {
        Errno errno = Libc.ReadCounter(Number, out count);
        return errno switch
        {
            Errno.None => true,
            Errno.Again => false,
            _ when _standIn is not null => _standIn.TryRead(out count),
            _ => throw new KernelException($"cannot read {this}", errno),
        };
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => _standIn is not null || base.ReleaseHandle();

    private static int Create(uint initial, bool semaphore)
    {
        Platform.ThrowIfForeign();
        int fd = Libc.CreateEventFd(initial, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK | (semaphore ? Libc.EFD_SEMAPHORE : 0));
        return fd >= 0 ? fd : throw new KernelException("cannot create an eventfd", Libc.LastError);
    }
}
