namespace Vmm.Events;

/// <summary>
/// What a simulated kernel does to a reactor's events, drawn from a seed: legal, and unkind. For tests of handlers: the same seed over the
/// same inputs gives the same run, so print it when a test fails. Chances are from 0 to 1, below 1 where said.
/// </summary>
/// <remarks>
/// With a <see cref="ManualClock"/> as <see cref="ReactorOptions.TimeProvider"/> the reactor runs on virtual time as well: when there is
/// nothing to do, the clock advances to the next timer at once, and no thread waits.
/// </remarks>
/// <example><c>new Reactor(new ReactorOptions { Simulation = EventSimulation.Chaos(seed), TimeProvider = new ManualClock() })</c></example>
public sealed record EventSimulation
{
    /// <summary>Makes a simulation that only shuffles.</summary>
    /// <param name="seed">What everything is drawn from.</param>
    public EventSimulation(int seed) => Seed = seed;

    /// <summary>What everything is drawn from.</summary>
    public int Seed { get; }

    /// <summary>The order of a batch is another one.</summary>
    public double ShuffleChance { get; init; } = 1;

    /// <summary>An event is reported some waits later, merged with what its descriptor has to say by then. Below 1.</summary>
    public double DelayChance { get; init; }

    /// <summary>Most waits an event is delayed, at least 1.</summary>
    public int DelayWaitsMax { get; init; } = 4;

    /// <summary>A batch is cut, or an event with several bits is reported bit by bit. Below 1.</summary>
    public double SplitChance { get; init; }

    /// <summary>An event comes twice: in the same batch, or some waits apart. Never one of a one-shot interest. Below 1.</summary>
    public double DuplicateChance { get; init; }

    /// <summary>A wait is interrupted by a signal (EINTR) and gives nothing. Below 1.</summary>
    public double InterruptChance { get; init; }

    /// <summary>Everything at once.</summary>
    public static EventSimulation Chaos(int seed) => new(seed)
    {
        DelayChance = 0.2,
        SplitChance = 0.2,
        DuplicateChance = 0.1,
        InterruptChance = 0.1,
    };

    internal void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(DelayWaitsMax, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(ShuffleChance);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(ShuffleChance, 1);
        foreach (double chance in (ReadOnlySpan<double>)[DelayChance, SplitChance, DuplicateChance, InterruptChance])
        {
            // A certain delay, cut or interruption would never end.
            if (chance is not (>= 0 and < 1))
                throw new ArgumentOutOfRangeException(nameof(chance), chance, "a chance is from 0 to below 1");
        }
    }
}
