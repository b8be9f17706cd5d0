namespace Vmm.Benchmarks;

/// <summary>
/// One group of results: the same work done by several contenders at several sizes. A new group is one value of this, and one line in
/// <see cref="Comparisons"/>.
/// </summary>
/// <param name="Suite">What the command line calls it, alone or with others: <c>compare dispatch</c>.</param>
/// <param name="Group">The group's name in tables and JSON.</param>
/// <param name="Description">One sentence: what one operation is and what n means.</param>
/// <param name="Sizes">The values of n.</param>
/// <param name="Variants">The contenders; the first is the baseline of the ratios.</param>
internal sealed record Comparison(
    string Suite, string Group, string Description, IReadOnlyList<int> Sizes, IReadOnlyList<Variant> Variants)
{
    /// <summary>What a variant holds whose descriptors do not grow with n.</summary>
    private const int FewDescriptors = 32;

    /// <summary>The values of n that the compiler sees before anything is measured.</summary>
    internal IReadOnlyList<int> WarmUpSizes { get; init; } = [Sizes.Min()];

    /// <summary>How much longer than usual a slice is: for work whose start and end take time.</summary>
    internal int SliceFactor { get; init; } = 1;

    /// <summary>Slices of each variant at the least, where they are long and few.</summary>
    internal int RoundsMin { get; init; } = 3;

    /// <summary>Descriptors one variant holds at a size: when not all fit in the process, they are set up one at a time.</summary>
    internal Func<int, int> DescriptorsFor { get; init; } = _ => FewDescriptors;
}
