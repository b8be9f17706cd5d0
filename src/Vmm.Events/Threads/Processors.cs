namespace Vmm.Events;

/// <summary>The processors of the host that this process's threads run on (sched_setaffinity(2)).</summary>
public static class Processors
{
    /// <summary>The numbers of the processors that the calling thread may run on, in order.</summary>
    public static IReadOnlyList<int> OfCallingThread() => Libc.ProcessorsOfCallingThread();

    /// <summary>Keeps the calling thread on one processor from now on.</summary>
    /// <param name="number">The processor's number.</param>
    /// <param name="what">Who is kept there, for the message: <c>reactor 'a'</c>.</param>
    /// <exception cref="KernelException">There is no such processor, or it is not for this process.</exception>
    public static void PinCallingThread(int number, string what)
    {
        Errno errno = number is >= 0 and < Libc.CpusMax ? Libc.PinCallingThread(number) : Errno.Invalid;
        if (errno != Errno.None)
            throw new KernelException($"cannot pin {what} to CPU {number}", errno, "the CPU is not there, or this process may not use it");
    }
}
