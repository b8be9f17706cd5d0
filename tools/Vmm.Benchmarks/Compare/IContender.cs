namespace Vmm.Benchmarks;

/// <summary>One variant, set up for one size and ready to run.</summary>
internal interface IContender : IDisposable
{
    /// <summary>The operations of a run are a multiple of this.</summary>
    int Quantum => 1;

    /// <summary>Clears away what the last run left; nobody looks at the clock meanwhile.</summary>
    void Prepare()
    {
    }

    /// <summary>Does so many operations, to the end of the last one.</summary>
    void Run(long operations);
}

/// <summary>A way to do what a comparison compares.</summary>
/// <param name="Name">As it appears in tables and JSON.</param>
/// <param name="Create">Sets it up for a size.</param>
internal sealed record Variant(string Name, Func<int, IContender> Create);
