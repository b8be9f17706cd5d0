using System.Diagnostics;

namespace Vmm.Tests;

/// <summary>Asks what code allocates once it is warm: slabs are filled, and the compiler has made its final code.</summary>
internal static class SteadyState
{
    /// <summary>A busy machine takes long until its compiler comes to the code under test.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    /// <summary>Runs it until one run allocates nothing on this thread, with time in between for the compiler's own thread.</summary>
    internal static void AllocatesNothing(Action run) => Allocates(0, 0, () =>
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        run();
        return GC.GetAllocatedBytesForCurrentThread() - before;
    });

    /// <summary>Runs it until it says that it allocated so much.</summary>
    internal static void Allocates(long least, long most, Func<long> run)
    {
        Stopwatch clock = Stopwatch.StartNew();
        long allocated = run();
        while ((allocated < least || allocated > most) && clock.Elapsed < Patience)
        {
            Thread.Sleep(20);
            allocated = run();
        }
        Assert.InRange(allocated, least, most);
    }
}
