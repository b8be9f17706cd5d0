namespace Vmm.Benchmarks;

/// <summary>How long it takes from <c>vmm boot</c> to a guest's first instructions, beside the start of .NET itself.</summary>
internal sealed class StartComparison : Comparison
{
    internal override string Suite => "start";

    internal override string Group => "start";

    internal override string Description =>
        "from the start of 'vmm boot' until the guest's third instruction has printed a byte; the baseline is the whole run of a program that prints a line (n = 1)";

    internal override IReadOnlyList<int> Sizes => [1];

    /// <summary>Processes take tens of milliseconds: a round is one of each.</summary>
    internal override int SliceFactor => 8;

    internal override IReadOnlyList<Variant> Variants { get; } =
    [
        new("dotnet-hello", _ => new ProcessContender(directory => [HelloProgram.Write(directory)], endsItself: true)),
        new("vmm-boot", _ => new ProcessContender(directory => [Tool, "boot", "--kernel", WriteKernel(directory)], endsItself: false)),
    ];

    private static string WriteKernel(string directory)
    {
        string path = Path.Combine(directory, "kernel");
        TinyKernel.Write(path, TinyKernel.PrintAndHalt);
        return path;
    }

    private static string Tool => Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..", "..", "vmm",
        Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory)), "vmm.dll"));
}
