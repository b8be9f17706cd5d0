namespace Vmm.Benchmarks;

/// <summary>
/// One group of results: the same work done by several contenders at several sizes. A new group is one class like this, and one line in
/// <see cref="Comparisons"/>.
/// </summary>
internal abstract class Comparison
{
    /// <summary>What a variant holds whose descriptors do not grow with n.</summary>
    private const int FewDescriptors = 32;

    /// <summary>What the command line calls it, alone or with others: <c>compare dispatch</c>.</summary>
    internal abstract string Suite { get; }

    /// <summary>The group's name in tables and JSON.</summary>
    internal abstract string Group { get; }

    /// <summary>One sentence: what one operation is and what n means.</summary>
    internal abstract string Description { get; }

    /// <summary>The values of n.</summary>
    internal abstract IReadOnlyList<int> Sizes { get; }

    /// <summary>The values of n that the compiler sees before anything is measured.</summary>
    internal virtual IReadOnlyList<int> WarmUpSizes => [Sizes.Min()];

    /// <summary>The contenders; the first is the baseline of the ratios.</summary>
    internal abstract IReadOnlyList<Variant> Variants { get; }

    /// <summary>How much longer than usual a slice is: for work whose start and end take time.</summary>
    internal virtual int SliceFactor => 1;

    /// <summary>Slices of each variant at the least, where they are long and few.</summary>
    internal virtual int RoundsMin => 3;

    /// <summary>Descriptors one variant holds at a size: when not all fit in the process, they are set up one at a time.</summary>
    internal virtual int DescriptorsFor(int n) => FewDescriptors;
}
