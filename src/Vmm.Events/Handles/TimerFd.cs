namespace Vmm.Events;

/// <summary>A timer on the monotonic clock that becomes readable when it expires (timerfd_create(2)).</summary>
public sealed class TimerFd : OwnedFd
{
    /// <summary>Makes a disarmed timer.</summary>
    /// <exception cref="KernelException">The process has no descriptor left.</exception>
    public TimerFd() : base(Create())
    {
    }

    /// <summary>Starts the timer; a running one starts anew.</summary>
    /// <param name="due">Time until the first expiration; zero or less expires at once.</param>
    /// <param name="period">Time between later expirations; zero means there are none.</param>
    public void Arm(TimeSpan due, TimeSpan period = default)
    {
        // A zero value would disarm: the shortest delay there is stands for "now".
        Set(due > TimeSpan.Zero ? due : TimeSpan.FromTicks(1), period);
    }

    /// <summary>Stops the timer; an expiration that was not read is forgotten.</summary>
    public void Disarm() => Set(TimeSpan.Zero, TimeSpan.Zero);

    /// <summary>Takes the number of expirations since the last read.</summary>
    /// <returns>False, and 0, if there was none.</returns>
    public bool TryRead(out ulong expirations)
    {
        Errno errno = Libc.ReadCounter(Number, out expirations);
        return errno switch
        {
            Errno.None => true,
            Errno.Again => false,
            _ => throw new KernelException($"cannot read {this}", errno),
        };
    }

    private void Set(TimeSpan due, TimeSpan period)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(period, TimeSpan.Zero);
        Errno errno = Libc.SetTimer(Number, due, period);
        if (errno != Errno.None)
            throw new KernelException($"cannot set {this}", errno);
    }

    private static int Create()
    {
        Platform.ThrowIfForeign();
        int fd = Libc.CreateTimerFd(Libc.CLOCK_MONOTONIC, Libc.TFD_CLOEXEC | Libc.TFD_NONBLOCK);
        return fd >= 0 ? fd : throw new KernelException("cannot create a timerfd", Libc.LastError);
    }
}
