using System.CommandLine;
using Spectre.Console;

namespace Vmm.Benchmarks;

/// <summary><c>compare</c>: every contender, side by side in one run.</summary>
internal static class CompareCommand
{
    internal static Command Create()
    {
        Argument<string> suite = new("SUITE")
        {
            Description = $"What to compare: {string.Join(", ", Comparisons.Suites)}.",
            DefaultValueFactory = _ => Comparisons.EverySuite,
        };
        suite.AcceptOnlyFromAmong([.. Comparisons.Suites, .. Comparisons.All.Select(comparison => comparison.Group)]);
        Option<bool> quick = new("--quick") { Description = "Fewer and shorter rounds: for a look, not for a claim." };
        Option<FileInfo?> json = new("--json") { HelpName = "FILE", Description = "Write the measurements to a file." };
        Option<DirectoryInfo?> plot = new("--plot") { HelpName = "DIR", Description = "Draw each group as an SVG file in a directory." };
        Option<string[]> variants = new("--variant")
        {
            HelpName = "NAME",
            Description = "Only this one beside the baseline, for a profiler; may be given several times."
        };
        Option<bool> slow = new("--slow-handlers")
        { Description = "Report what held a reactor beyond 1 ms. The watch costs time of its own: not for figures." };
        Command command = new("compare", "Run all variants of each group interleaved; print medians and the ratio to the baseline.")
        {
            suite, quick, json, plot, variants, slow,
        };
        command.SetAction(parsed =>
        {
            SlowHandlers.AreWatched = parsed.GetValue(slow);
            Interleaver interleaver = new(parsed.GetValue(quick) ? Pace.Quick : Pace.Thorough, parsed.GetValue(variants) ?? []);
            // Not among all: minutes, in processes of their own, with bounds that are kept or missed.
            Func<IAnsiConsole, bool, bool>? print = parsed.GetRequiredValue(suite) switch
            {
                RemoteDiskReport.NbdSuite => RemoteDiskReport.PrintNbd,
                RemoteDiskReport.RbdSuite => RemoteDiskReport.PrintRbd,
                LimitReport.Suite => LimitReport.Print,
                HotPlugReport.Suite => HotPlugReport.Print,
                NeighbourReport.Suite => NeighbourReport.Print,
                FootprintReport.Suite => FootprintReport.Print,
                SaveReport.Suite => SaveReport.Print,
                _ => null,
            };
            if (print is not null) return print(AnsiConsole.Console, parsed.GetValue(quick)) ? 0 : 1;
            int result = Run(parsed.GetRequiredValue(suite), interleaver, parsed.GetValue(json), parsed.GetValue(plot));
            if (parsed.GetRequiredValue(suite) != RestoreComparison.SuiteName) return result;
            DifferenceReport.Print(AnsiConsole.Console, parsed.GetValue(quick));
            CloneReport.Print(AnsiConsole.Console);
            return result;
        });
        return command;
    }

    private static int Run(string suite, Interleaver interleaver, FileInfo? json, DirectoryInfo? plot)
    {
        List<Measurement> all = [];
        plot?.Create();
        foreach (Comparison comparison in Comparisons.InSuite(suite))
        {
            IReadOnlyList<Measurement> measurements;
            try
            {
                measurements = [.. interleaver.Measure(comparison)];
            }
            catch (IOException missing) when (suite == Comparisons.EverySuite)
            {
                // A baseline that is not installed: the others are measured all the same.
                AnsiConsole.MarkupLineInterpolated($"[bold]{comparison.Group}[/]: left out: {missing.Message}");
                continue;
            }
            TableReport.Print(AnsiConsole.Console, comparison, measurements);
            if (plot is not null) AnsiConsole.MarkupLineInterpolated($"drawn in {SvgPlot.Write(plot.FullName, comparison, measurements)}");
            all.AddRange(measurements);
        }
        if (suite is IdleReport.Suite or Comparisons.EverySuite) IdleReport.Print(AnsiConsole.Console);
        SlowHandlers.Print(AnsiConsole.Console);
        if (json is not null) JsonReport.Write(json.FullName, all);
        return 0;
    }
}
