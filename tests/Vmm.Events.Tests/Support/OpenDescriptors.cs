namespace Vmm.Events.Tests.Support;

/// <summary>How many descriptors this process has open. For tests that run <see cref="Alone"/>.</summary>
internal static class OpenDescriptors
{
    /// <summary>Those that other tests left to the finalizer are closed first: they would close under a count, or give their numbers back.</summary>
    internal static int Count()
    {
        Settle();
        return Directory.GetFiles("/proc/self/fd").Length;
    }

    internal static void Settle()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
    }
}
