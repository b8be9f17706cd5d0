using System.Runtime.InteropServices;

namespace Vmm.Events.Native;

internal static unsafe partial class Libc
{
    /// <summary>CPUs that a cpu_set_t has bits for (CPU_SETSIZE).</summary>
    internal const int CpusMax = 1024;

    private const int CallingThread = 0;

    [LibraryImport(Name, EntryPoint = "sched_setaffinity", SetLastError = true)]
    private static partial int SetAffinity(int thread, nuint maskBytes, ulong* mask);

    /// <summary>Has the calling thread run on one CPU only (sched_setaffinity(2)).</summary>
    internal static Errno PinCallingThread(int cpu)
    {
        const int bitsPerWord = 64;
        const int words = CpusMax / bitsPerWord;
        // SAFETY: a local of exactly the size that is named; the caller's number is below CpusMax.
        ulong* mask = stackalloc ulong[words];
        new Span<ulong>(mask, words).Clear();
        mask[cpu / bitsPerWord] = 1UL << (cpu % bitsPerWord);
        return SetAffinity(CallingThread, words * sizeof(ulong), mask) == 0 ? Errno.None : LastError;
    }
}
