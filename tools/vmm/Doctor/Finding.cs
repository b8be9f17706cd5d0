namespace Vmm.Tool;

/// <summary>How much of something this machine has.</summary>
internal enum Health
{
    /// <summary>All of it.</summary>
    Good,

    /// <summary>Enough, with a loss that the finding names.</summary>
    Limited,

    /// <summary>None of it: what needs it does not work.</summary>
    Missing,
}

/// <summary>What a look at the machine found.</summary>
/// <param name="Health">How much there is.</param>
/// <param name="What">What there is, or why not, and what to do about it.</param>
internal readonly record struct Finding(Health Health, string What)
{
    internal static Finding Good(string what) => new(Health.Good, what);

    internal static Finding Limited(string what) => new(Health.Limited, what);

    internal static Finding Missing(string what) => new(Health.Missing, what);
}

/// <summary>Something that a machine has or lacks.</summary>
/// <param name="Name">A word for it.</param>
/// <param name="NeededBy">The command that does not work without it; null if commands lose no more than what the finding names.</param>
/// <param name="Look">Looks.</param>
internal sealed record HostCheck(string Name, string? NeededBy, Func<Finding> Look);
