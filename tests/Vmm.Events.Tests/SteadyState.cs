namespace Vmm.Events.Tests;

/// <summary>Asks what code allocates once it is warm: slabs are filled, and the compiler has made its final code.</summary>
internal static class SteadyState
{
    // Each waits a little: a busy machine may take half a minute until its compiler comes to this code.
    private const int TriesMax = 1500;

    /// <summary>Runs it until one run allocates nothing on this thread, with time in between for the compiler's own thread.</summary>
    internal static void AllocatesNothing(Action run)
    {
        long allocated = long.MaxValue;
        for (int i = 0; i < TriesMax && allocated != 0; i++)
        {
            if (i > 0) Thread.Sleep(20);
            long before = GC.GetAllocatedBytesForCurrentThread();
            run();
            allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        }
        Assert.Equal(0, allocated);
    }
}
