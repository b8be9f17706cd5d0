using System.CommandLine;
using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;

namespace Vmm.Fuzz;

/// <summary><c>coverage</c>: AFL++ on one target, with the library instrumented; <c>afl</c> is what it starts.</summary>
internal static class CoverageCommand
{
    private const int SeedsAtStart = 16;
    private const int World = 1;

    /// <summary>What is fuzzed: the devices, and the tool's command line.</summary>
    private static readonly string[] Instrumented = ["Vmm.Devices.dll", "vmm.dll"];

    private static readonly string Work = Path.Combine("artifacts", "fuzz");

    internal static Command Create()
    {
        Argument<string> name = Target();
        Option<int> seconds = new("--seconds") { HelpName = "N", Description = "How long.", DefaultValueFactory = _ => 60 };
        Command command = new("coverage", "Has AFL++ (afl-fuzz, of Debian's package afl++) look for inputs that go where none went before.")
            { name, seconds };
        command.SetAction(parsed => Run(FuzzTargets.Find(parsed.GetValue(name)!)!, parsed.GetValue(seconds)));
        return command;
    }

    internal static Command CreateServer()
    {
        Argument<string> name = Target();
        Command command = new("afl", "Serves inputs to a target: started by afl-fuzz.") { name };
        command.Hidden = true;
        command.SetAction(parsed => new AflServer(FuzzTargets.Find(parsed.GetValue(name)!)!).Run());
        return command;
    }

    internal static Argument<string> Target()
    {
        Argument<string> name =
            new("TARGET") { Description = $"One of {string.Join(", ", FuzzTargets.All.Select(target => target.Name))}." };
        name.AcceptOnlyFromAmong([.. FuzzTargets.All.Select(target => target.Name)]);
        return name;
    }

    /// <summary>Where AFL++ puts what it finds.</summary>
    internal static string FoundFor(FuzzTarget target) => Path.Combine(Work, target.Name, "afl");

    private static int Run(FuzzTarget target, int seconds)
    {
        string tool = InstrumentedTool();
        string seeds = Path.Combine(Work, target.Name, "seeds"), found = FoundFor(target);
        WriteSeeds(target, seeds);
        try
        {
            using Process afl = Start(target, tool, seeds, found, seconds);
            afl.WaitForExit();
        }
        catch (Win32Exception)
        {
            Console.Error.WriteLine("fuzz: there is no afl-fuzz: apt-get install afl++");
            return World;
        }
        return Report(target, Path.Combine(found, "default"));
    }

    /// <summary>A copy of this tool that counts where it comes by.</summary>
    internal static string InstrumentedTool()
    {
        string folder = Path.Combine(Work, "instrumented");
        if (Directory.Exists(folder)) Directory.Delete(folder, recursive: true);
        foreach (string file in Directory.EnumerateFiles(AppContext.BaseDirectory, "*", SearchOption.AllDirectories))
        {
            string copy = Path.Combine(folder, Path.GetRelativePath(AppContext.BaseDirectory, file));
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            File.Copy(file, copy);
        }
        int places = Instrumented.Sum(file => Instrumenter.Instrument(Path.Combine(folder, file)));
        Console.WriteLine($"{places} places instrumented");
        return Path.Combine(folder, "Vmm.Fuzz.dll");
    }

    private static void WriteSeeds(FuzzTarget target, string folder)
    {
        Directory.CreateDirectory(folder);
        for (int seed = 0; seed < SeedsAtStart; seed++)
            File.WriteAllBytes(Path.Combine(folder, $"seed-{seed}"), FuzzInput.FromSeed(seed).Bytes.Span);
        foreach (string kept in target.Corpus) File.Copy(kept, Path.Combine(folder, Path.GetFileName(kept)), overwrite: true);
    }

    private static Process Start(FuzzTarget target, string tool, string seeds, string found, int seconds)
    {
        ProcessStartInfo afl = new("afl-fuzz")
        {
            ArgumentList =
            {
                "-i", seeds, "-o", found, "-t", "20000", "-m", "none", "-V", seconds.ToString(CultureInfo.InvariantCulture), "--",
                Environment.ProcessPath!, tool, "afl", target.Name,
            },
            Environment =
            {
                ["AFL_SKIP_BIN_CHECK"] = "1",
                ["AFL_SKIP_CPUFREQ"] = "1",
                ["AFL_NO_AFFINITY"] = "1",
                ["AFL_NO_UI"] = "1",
                ["AFL_QUIET"] = "1",
                ["AFL_AUTORESUME"] = "1",
                ["AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES"] = "1",
                ["AFL_FORKSRV_INIT_TMOUT"] = "60000",
                ["AFL_MAP_SIZE"] = CoverageMap.Length.ToString(CultureInfo.InvariantCulture),
                ["DOTNET_TieredPGO"] = "0",
            },
            RedirectStandardOutput = true,
        };
        Process process = Process.Start(afl)!;
        // What it prints line by line is of no use without its screen; the figures are in a file in the end.
        process.OutputDataReceived += (_, line) => LastWords = string.IsNullOrWhiteSpace(line.Data) ? LastWords : line.Data;
        process.BeginOutputReadLine();
        return process;
    }

    private static string? LastWords { get; set; }

    private static int Report(FuzzTarget target, string results)
    {
        string path = Path.Combine(results, "fuzzer_stats");
        if (!File.Exists(path))
        {
            Console.Error.WriteLine($"fuzz: afl-fuzz ended before it began: {LastWords}");
            return World;
        }
        Dictionary<string, string> stats = File.ReadLines(path).Select(line => line.Split(':', 2))
            .ToDictionary(pair => pair[0].Trim(), pair => pair[1].Trim());
        Console.WriteLine(
            $"{target.Name}: {stats["execs_done"]} executions, {stats["execs_per_sec"]} a second, "
            + $"{stats["corpus_count"]} inputs in the corpus, "
            + $"{stats["edges_found"]} edges, {stats["saved_crashes"]} broken promises, {stats["saved_hangs"]} hangs");
        string[] broken = [.. Directory.EnumerateFiles(Path.Combine(results, "crashes"), "id*")];
        foreach (string input in broken) Console.WriteLine($"again: tools/fuzz.sh {target.Name} --input '{Path.GetFullPath(input)}'");
        return broken.Length == 0 ? 0 : World;
    }
}
