using System.Diagnostics;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// Locks an image against others, by the bytes that QEMU locks (block/file-posix.c): one byte says what a user does with the image, another
/// what it forbids all others. So QEMU and this process keep each other's writers out, and readers share. What a killed process had in its
/// completion ring is ended by the kernel after the process is gone, and keeps the lock until then, as it must: those requests may still
/// reach the file. How long that takes is the disk's business (128 reads of a disk of 50 a second: 2.5 s), so a lock that no process shows
/// is waited for, and one that a process shows is not, but for the moment which a process takes to die.
/// </summary>
internal static class ImageLock
{
    /// <summary>
    /// At a start: after this time the kernel's block layer, by default, gives a request up that its disk does not answer. An operator who
    /// adds a disk to a machine that runs waits for an answer, and can ask again.
    /// </summary>
    internal static readonly TimeSpan UnknownHolderWaitMax = TimeSpan.FromSeconds(30);

    /// <summary>For a process to show no files any more after its SIGKILL: at most 0.16 s was seen, on a busy machine.</summary>
    internal static readonly TimeSpan KnownHolderWaitMax = TimeSpan.FromSeconds(2);

    /// <summary>Between two looks through all processes, which cost more than an attempt to lock.</summary>
    private static readonly TimeSpan BetweenLooks = TimeSpan.FromSeconds(1);

    private const int RetryMs = 20;

    /// <summary>
    /// First byte of those that say "I do this", and of those that say "no other process may"; one byte each for every kind of access.
    /// </summary>
    private const long DoesBase = 100, ForbidsBase = 200;
    private const int Reads = 0, Writes = 1, Resizes = 3, Kinds = 4;

    /// <summary>Kinds of access that lie side by side are one call.</summary>
    private static readonly (int First, int Count)[] Reading = [(Reads, 1)], Changing = [(Writes, 1), (Resizes, 1)],
        ReadingAndWriting = [(Reads, 2)], Everything = [(0, Kinds)];

    /// <summary>Locks a whole file, or says who else has it.</summary>
    /// <param name="file">The open file.</param>
    /// <param name="exclusive">Whether it is not shared.</param>
    /// <param name="unknownHolderWait">How long a lock is waited for that no process shows.</param>
    /// <param name="holder">The process that has it, if it is refused and that is known.</param>
    internal static Errno Acquire(OwnedFd file, bool exclusive, TimeSpan unknownHolderWait, out LockHolder? holder)
    {
        holder = null;
        long start = Stopwatch.GetTimestamp();
        TimeSpan nextLook = KnownHolderWaitMax;
        while (true)
        {
            Errno error = TryLock(file.Number, exclusive);
            if (error is not (Errno.Again or Errno.AccessDenied)) return error;
            TimeSpan waited = Stopwatch.GetElapsedTime(start);
            if (waited >= nextLook)
            {
                holder = LockHolder.Find(file.Number);
                if (holder is not null || waited >= unknownHolderWait) return error;
                nextLook = waited + BetweenLooks;
            }
            // Two that came at once both released their locks: they do not try again in step.
            Thread.Sleep(Random.Shared.Next(RetryMs / 2, RetryMs));
        }
    }

    /// <summary>Locks a file for a writer, which does not share it, or for a reader, which forbids others to change it.</summary>
    /// <returns><see cref="Errno.Again"/> if another process holds conflicting locks; nothing is locked then.</returns>
    internal static Errno TryLock(int file, bool exclusive)
    {
        ((int, int)[] does, (int, int)[] forbids) = exclusive ? (ReadingAndWriting, Everything) : (Reading, Changing);
        Errno error = Each(does, DoesBase, (start, count) => FileCalls.LockBytes(file, start, count));
        if (error == Errno.None) error = Each(forbids, ForbidsBase, (start, count) => FileCalls.LockBytes(file, start, count));
        // Only now: a process that looks after this sees our locks.
        if (error == Errno.None) error = Each(forbids, DoesBase, (start, count) => FileCalls.AreBytesLocked(file, start, count));
        if (error == Errno.None) error = Each(does, ForbidsBase, (start, count) => FileCalls.AreBytesLocked(file, start, count));
        if (error != Errno.None) FileCalls.Unlock(file);
        return error;
    }

    private static Errno Each((int First, int Count)[] kinds, long start, Func<long, long, Errno> lockOrLook)
    {
        foreach ((int first, int count) in kinds)
        {
            Errno error = lockOrLook(start + first, count);
            if (error != Errno.None) return error;
        }
        return Errno.None;
    }
}
