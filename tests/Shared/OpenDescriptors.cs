namespace Vmm.Tests;

/// <summary>How many descriptors this process has open. For tests that run <see cref="Alone"/>.</summary>
internal static class OpenDescriptors
{
    /// <summary>
    /// Those that other tests left to the finalizer are closed first: they would close under a count, or give their numbers back.
    /// </summary>
    internal static int Count()
    {
        Settle();
        return Directory.GetFiles("/proc/self/fd").Length;
    }

    /// <summary>
    /// Those of the kinds that reactors make, by name: eventfds, timers, sets, rings. What else comes and goes is the runtime's: it opens
    /// assemblies when it needs them.
    /// </summary>
    /// <param name="settled">Whether what was left to the finalizer is closed first.</param>
    internal static string[] OfReactors(bool settled = true)
    {
        if (settled) Settle();
        return
        [
            .. Directory.GetFiles("/proc/self/fd").Select(path => new FileInfo(path).LinkTarget).OfType<string>()
                .Where(target => target.StartsWith("anon_inode:", StringComparison.Ordinal)).Order(StringComparer.Ordinal),
        ];
    }

    internal static void Settle()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
    }
}
