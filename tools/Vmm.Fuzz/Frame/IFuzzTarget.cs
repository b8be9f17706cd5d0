namespace Vmm.Fuzz;

/// <summary>Something a hostile guest, or a hostile host beside it, can reach: driven by bytes.</summary>
internal interface IFuzzTarget : IDisposable
{
    /// <summary>
    /// One execution: does what the input says, then looks whether every promise was kept. It leaves the target as fresh, so that the same
    /// input does the same whatever came before.
    /// </summary>
    /// <exception cref="Exception">A promise was broken: <see cref="BrokenPromiseException"/>, or what the code under test
    /// threw.</exception>
    void Run(FuzzInput input);
}

/// <summary>What a target watches for did not hold.</summary>
internal sealed class BrokenPromiseException(string message) : Exception(message)
{
    internal static void Unless(bool kept, string broken)
    {
        if (!kept) throw new BrokenPromiseException(broken);
    }
}

/// <summary>What a target met, so that a reader can see whether it is blind.</summary>
internal sealed class Tally
{
    private readonly SortedDictionary<string, long> _counts = new(StringComparer.Ordinal);

    internal IReadOnlyDictionary<string, long> Counts => _counts;

    internal void Add(string what, long times = 1)
    {
        if (times != 0) _counts[what] = _counts.GetValueOrDefault(what) + times;
    }
}
