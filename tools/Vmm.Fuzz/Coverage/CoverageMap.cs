namespace Vmm.Fuzz;

/// <summary>
/// How often each edge between two places of instrumented code was taken: a counter for each, by a hash of the two, as AFL has it. Called
/// by code that <see cref="Instrumenter"/> changed; public for that alone.
/// </summary>
public static class CoverageMap
{
    /// <summary>Counters: as many as AFL takes by default.</summary>
    internal const int Length = 1 << 16;

    private static readonly byte[] Counters = new byte[Length];
    private static int _previous;

    /// <summary>Execution came by a place.</summary>
    /// <param name="place">Its number, below 65536.</param>
    public static void Hit(int place)
    {
        Counters[(ushort)(place ^ _previous)]++;
        _previous = place >> 1;
    }

    /// <summary>Hands the counters over and starts anew.</summary>
    internal static void Take(Span<byte> destination)
    {
        Counters.CopyTo(destination);
        Clear();
    }

    internal static void Clear()
    {
        Array.Clear(Counters);
        _previous = 0;
    }
}
