using System.Runtime.InteropServices;

namespace Vmm.Benchmarks;

/// <summary>How long the calling thread had a processor (clock_gettime(2)).</summary>
internal static partial class ThreadTime
{
    private const int CLOCK_THREAD_CPUTIME_ID = 3;

    internal static TimeSpan Now
    {
        get
        {
            KernelTime time = default;
            if (GetTime(CLOCK_THREAD_CPUTIME_ID, ref time) != 0) throw new IOException("clock_gettime");
            return TimeSpan.FromSeconds(time.Seconds) + TimeSpan.FromMicroseconds(time.Nanoseconds / 1000.0);
        }
    }

    [LibraryImport("libc", EntryPoint = "clock_gettime")]
    private static partial int GetTime(int clock, ref KernelTime time);

    /// <summary>struct timespec.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct KernelTime
    {
        internal long Seconds, Nanoseconds;
    }
}
