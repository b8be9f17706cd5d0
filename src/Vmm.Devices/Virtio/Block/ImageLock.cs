using System.Diagnostics;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// Locks an image against others. What a killed process had in its completion ring is ended by the kernel after the process is gone, and keeps the lock until then,
/// as it must: those requests may still reach the file. How long that takes is the disk's business (128 reads of a disk of 50 a second: 2.5 s), so a lock
/// that no process shows is waited for, and one that a process shows is not, but for the moment which a process takes to die.
/// </summary>
internal static class ImageLock
{
    /// <summary>After which the kernel's block layer, by default, gives a request up that its disk does not answer.</summary>
    internal static readonly TimeSpan NobodyWaitMax = TimeSpan.FromSeconds(30);

    /// <summary>For a process to show no files any more after its SIGKILL: at most 0.16 s was seen, on a busy machine.</summary>
    internal static readonly TimeSpan SomebodyWaitMax = TimeSpan.FromSeconds(2);

    /// <summary>Between two looks through all processes, which cost more than an attempt to lock.</summary>
    private static readonly TimeSpan BetweenLooks = TimeSpan.FromSeconds(1);

    private const int RetryMs = 20;

    /// <summary>Locks a whole file, or says who else has it.</summary>
    /// <param name="file">The open file.</param>
    /// <param name="exclusive">Whether it is shared with nobody.</param>
    /// <param name="holder">Who has it, if it is refused and somebody shows.</param>
    internal static Errno Acquire(OwnedFd file, bool exclusive, out LockHolder? holder)
    {
        holder = null;
        long start = Stopwatch.GetTimestamp();
        TimeSpan nextLook = SomebodyWaitMax;
        while (true)
        {
            Errno error = FileCalls.TryLock(file.Number, exclusive);
            if (error is not (Errno.Again or Errno.AccessDenied)) return error;
            TimeSpan waited = Stopwatch.GetElapsedTime(start);
            if (waited >= nextLook)
            {
                holder = LockHolder.Find(file.Number);
                if (holder is not null || waited >= NobodyWaitMax) return error;
                nextLook = waited + BetweenLooks;
            }
            Thread.Sleep(RetryMs);
        }
    }
}
