using System.Runtime.InteropServices;
using Vmm.Events;

namespace Vmm.Devices.Native;

/// <summary>Keeps a thread on one processor (sched_setaffinity(2)).</summary>
internal static unsafe partial class ThreadAffinity
{
    /// <summary>Processors a mask of glibc's default size can name.</summary>
    internal const int CpusMax = 1024;

    private const int BitsPerWord = 64;

    /// <summary>Pins the calling thread.</summary>
    /// <exception cref="KernelException">There is no such processor, or this process may not use it.</exception>
    internal static void PinCallingThread(int cpu)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(cpu);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(cpu, CpusMax);
        ulong* mask = stackalloc ulong[CpusMax / BitsPerWord];
        // SAFETY: the word of the processor lies inside of the mask, which was checked; the kernel reads the whole of it.
        mask[cpu / BitsPerWord] = 1UL << (cpu % BitsPerWord);
        if (SetAffinity(0, CpusMax / 8, mask) != 0)
            throw new KernelException($"cannot keep a thread on processor {cpu}", (Errno)Marshal.GetLastPInvokeError());
    }

    [LibraryImport("libc", EntryPoint = "sched_setaffinity", SetLastError = true)]
    private static partial int SetAffinity(int threadId, nuint bytes, ulong* mask);
}
