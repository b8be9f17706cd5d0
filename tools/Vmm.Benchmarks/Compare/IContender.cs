namespace Vmm.Benchmarks;

/// <summary>One variant, set up for one size and ready to run.</summary>
internal interface IContender : IDisposable
{
    /// <summary>The operations of a run are a multiple of this.</summary>
    int Quantum => 1;

    /// <summary>Clears away what the last run left; this time is not measured.</summary>
    void Prepare()
    {
    }

    /// <summary>
    /// How long the last run took by its own account, if what it is in takes its time to start; null: as long as the call.
    /// </summary>
    TimeSpan? OwnTime => null;

    /// <summary>Does so many operations, to the end of the last one.</summary>
    void Run(long operations);
}

/// <summary>One contender of a comparison.</summary>
/// <param name="Name">As it appears in tables and JSON.</param>
/// <param name="Create">Sets it up for a size.</param>
/// <param name="IsOutside">Whether it is a process of its own: nothing of it warms up, and a run of it is one quantum.</param>
internal sealed record Variant(string Name, Func<int, IContender> Create, bool IsOutside = false);
