using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;

namespace Vmm.EndToEnd;

/// <summary>The fuzzer as its users run it: random inputs, and AFL++ on the instrumented library.</summary>
public sealed partial class FuzzTests
{
    private const int InputsAtStart = 16;

    [Fact]
    public void Random_inputs_are_counted_and_what_was_met_is_told()
    {
        string output = Run("run", "ring", "--seconds", "1", "--seed", "1");
        Assert.Matches(@"ring: \d+ executions, [\d,]+ a second; .*BufferAddress \d+", output);
    }

    [Fact]
    public void Coverage_leads_to_inputs_that_were_not_there_before()
    {
        string output = Run("coverage", "kernel", "--seconds", "5");
        Match figures = Figures().Match(output);
        Assert.True(figures.Success, output);
        Assert.True(int.Parse(figures.Groups["executions"].Value, CultureInfo.InvariantCulture) > 1_000, output);
        Assert.True(int.Parse(figures.Groups["inputs"].Value, CultureInfo.InvariantCulture) > InputsAtStart, output);
        Assert.Contains("0 broken promises, 0 hangs", output);
    }

    private static string Run(params string[] arguments)
    {
        using ScratchDirectory scratch = new();
        string configuration = Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory));
        string tool = Repository.PathOf($"artifacts/bin/Vmm.Fuzz/{configuration}/Vmm.Fuzz.dll");
        using Process process = Process.Start(new ProcessStartInfo("dotnet", [tool, .. arguments]) { RedirectStandardOutput = true, WorkingDirectory = scratch.PathOf("") })!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, output);
        return output;
    }

    [GeneratedRegex(@"kernel: (?<executions>\d+) executions, .* a second, (?<inputs>\d+) inputs in the corpus")]
    private static partial Regex Figures();
}
