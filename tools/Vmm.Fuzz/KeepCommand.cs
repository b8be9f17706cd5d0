using System.CommandLine;
using System.Diagnostics;

namespace Vmm.Fuzz;

/// <summary>
/// <c>keep</c>: of what AFL++ found, the few inputs that go where the others do not, into the corpus of the repository. <c>choose</c> is
/// what does it, in the instrumented copy of the tool, which knows where an input goes.
/// </summary>
internal static class KeepCommand
{
    private const int KeptMax = 12;
    private const int BytesMax = 256;

    internal static Command Create()
    {
        Argument<string> name = CoverageCommand.Target();
        Command command = new("keep", "Keeps the best of what AFL++ found for a target in its corpus.") { name };
        command.SetAction(parsed =>
        {
            using Process chooser =
                Process.Start(Environment.ProcessPath!, [CoverageCommand.InstrumentedTool(), "choose", parsed.GetValue(name)!]);
            chooser.WaitForExit();
            return chooser.ExitCode;
        });
        return command;
    }

    internal static Command CreateChooser()
    {
        Argument<string> name = CoverageCommand.Target();
        Command command = new("choose", "Chooses what is kept: started by 'keep'.") { name };
        command.Hidden = true;
        command.SetAction(parsed => Choose(FuzzTargets.Find(parsed.GetValue(name)!)!));
        return command;
    }

    private static void Choose(FuzzTarget target)
    {
        List<(byte[] Input, HashSet<int> Edges)> found = [];
        foreach (string path in Directory.EnumerateFiles(Path.Combine(CoverageCommand.FoundFor(target), "default", "queue"), "id*"))
        {
            byte[] input = File.ReadAllBytes(path);
            if (input.Length <= BytesMax) found.Add((input, EdgesOf(target, input)));
        }
        string corpus = Path.Combine("tools", "Vmm.Fuzz", "Corpus", target.Name);
        Directory.CreateDirectory(corpus);
        HashSet<int> seen = [];
        for (int kept = 0; kept < KeptMax && found.Count > 0; kept++)
        {
            (byte[] input, HashSet<int> edges) = found.MaxBy(each => each.Edges.Count(edge => !seen.Contains(edge)));
            if (edges.IsSubsetOf(seen)) break;
            seen.UnionWith(edges);
            File.WriteAllBytes(Path.Combine(corpus, $"edges-{kept:d2}"), input);
        }
        Console.WriteLine($"{target.Name}: {seen.Count} edges of {found.SelectMany(each => each.Edges).Distinct().Count()} kept");
    }

    private static HashSet<int> EdgesOf(FuzzTarget target, byte[] input)
    {
        using IFuzzTarget running = target.Make(new Tally());
        byte[] counters = new byte[CoverageMap.Length];
        CoverageMap.Clear();
        running.Run(new FuzzInput(input));
        CoverageMap.Take(counters);
        return [.. Enumerable.Range(0, counters.Length).Where(edge => counters[edge] != 0)];
    }
}
