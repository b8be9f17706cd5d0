using System.Diagnostics;

namespace Vmm.Events.Tests;

/// <summary>Asks what code allocates once it is warm: slabs are filled, and the compiler has made its final code.</summary>
internal static class SteadyState
{
    /// <summary>A busy machine takes long until its compiler comes to the code under test.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    /// <summary>Runs it until one run allocates nothing on this thread, with time in between for the compiler's own thread.</summary>
    internal static void AllocatesNothing(Action run)
    {
        long allocated = long.MaxValue;
        Stopwatch clock = Stopwatch.StartNew();
        while (allocated != 0 && clock.Elapsed < Patience)
        {
            if (allocated != long.MaxValue) Thread.Sleep(20);
            long before = GC.GetAllocatedBytesForCurrentThread();
            run();
            allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        }
        Assert.Equal(0, allocated);
    }
}
