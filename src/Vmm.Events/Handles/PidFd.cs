namespace Vmm.Events;

/// <summary>
/// A process, as a descriptor that becomes readable when the process has exited, and stays so (pidfd_open(2)): the handler removes its
/// subscription. Unlike a process number it never comes to mean another process. The exit code is had where the process was started.
/// </summary>
/// <example><c>Interest.Readable.WithFd(new PidFd(child.Id)).WithHandler((PidFd fd, IReactor reactor) => …)</c></example>
public sealed class PidFd : OwnedFd
{
    /// <summary>Opens a process.</summary>
    /// <param name="processId">
    /// Its number. While it is a child of this process and no call has waited for it, the number cannot be another process's.
    /// </param>
    /// <exception cref="KernelException">There is no such process (<see cref="Errno.NoProcess"/>), or no descriptor left.</exception>
    public PidFd(int processId) : base(Open(processId)) => ProcessId = processId;

    /// <summary>The number of the process; after its exit it may be another's.</summary>
    public int ProcessId { get; }

    private static int Open(int processId)
    {
        Platform.ThrowIfForeign();
        int fd = Libc.OpenPidFd(processId);
        return fd >= 0 ? fd : throw new KernelException($"cannot open process {processId}", Libc.LastError);
    }
}
