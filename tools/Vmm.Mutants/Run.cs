using System.Diagnostics;
using System.Globalization;

namespace Vmm.Mutants;

/// <summary>One run of the tool: build the mutants, measure the suites, try the mutants, write the report.</summary>
internal static class Run
{
    private const string Configuration = "release";

    internal static int Of(string project, string[] folders, int count, TimeSpan limit, int seed,
        TimeSpan suiteMax, string[] suites, int only)
    {
        string root = FindRoot();
        string tests = $"{project}.Tests";
        string built = Path.Combine(root, "artifacts", "bin", tests, Configuration);
        string work = Path.Combine(root, "artifacts", "mutants", project);
        if (!File.Exists(Path.Combine(built, $"{project}.dll")))
            return Refuse($"{tests} is not built: dotnet build tests/{tests} -c Release");
        CopyTree(built, Path.Combine(work, "run"));

        IReadOnlyList<Mutant> mutants = Compiler(root, project, folders, built).Compile(Path.Combine(work, "run", $"{project}.dll"));
        Console.WriteLine($"{mutants.Count} mutants in {project}");
        using TestProgram program = new(Path.Combine(work, "run"), tests, project);
        Campaign campaign = new(program, suiteMax);
        Stopwatch clock = Stopwatch.StartNew();
        List<string> leftOut = campaign.Measure(program.ListSuites().Where(IsWanted));
        foreach (string each in leftOut) Console.WriteLine($"left out: {each}");
        Console.WriteLine($"suites measured in {clock.Elapsed.TotalMinutes:F1} minutes");

        Mutant[] drawn = only != 0 ? [mutants[only - 1]] : Draw(mutants, count, seed);
        using StreamWriter report = new(Path.Combine(work, "report.txt")) { AutoFlush = true };
        Dictionary<Fate, int> fates = Enum.GetValues<Fate>().ToDictionary(fate => fate, _ => 0);
        int tried = 0;
        foreach (Mutant mutant in drawn)
        {
            if (clock.Elapsed > limit) break;
            Fate fate = campaign.Try(mutant, out string killers);
            fates[fate]++;
            tried++;
            string line = string.Create(CultureInfo.InvariantCulture, $"{fate,-8} {mutant.Id,5} {mutant} {killers}");
            report.WriteLine(line);
            if (fate is Fate.Survived or Fate.NotRun || tried % 25 == 0) Console.WriteLine($"{tried,4} {line}");
        }
        string sum = $"{tried} mutants of {project}: {string.Join(", ", fates.Select(each => $"{each.Value} {each.Key}"))}, "
            + $"{clock.Elapsed.TotalMinutes:F0} minutes";
        report.WriteLine(sum);
        Console.WriteLine(sum);
        return 0;

        bool IsWanted(string suite) => suites.Length == 0 || suites.Any(each => suite.Contains(each, StringComparison.Ordinal));
    }

    /// <summary>Evenly from all, so that each file has its share, in an order that the seed says.</summary>
    private static Mutant[] Draw(IReadOnlyList<Mutant> mutants, int count, int seed)
    {
        Random random = new(seed);
        double step = Math.Max(1, (double)mutants.Count / count);
        List<Mutant> drawn = [];
        for (double at = random.NextDouble() * step; at < mutants.Count; at += step) drawn.Add(mutants[(int)at]);
        Mutant[] shuffled = [.. drawn];
        random.Shuffle(shuffled);
        return shuffled;
    }

    private static MutantCompiler Compiler(string root, string project, string[] folders, string built)
    {
        string source = Path.Combine(root, "src", project);
        string made = Path.Combine(root, "artifacts", "obj", project, Configuration);
        (string Path, string Text)[] files =
        [
            .. Directory.EnumerateFiles(source, "*.cs", SearchOption.AllDirectories)
                .Select(path => (Path.GetRelativePath(source, path), File.ReadAllText(path)))
                    .OrderBy(each => each.Item1, StringComparer.Ordinal),
        ];
        // What the build wrote: assembly attributes and implicit usings.
        (string Path, string Text)[] written = [.. Directory.EnumerateFiles(made, "*.cs").Select(path => (path, File.ReadAllText(path)))];
        string[] mutated = [.. files.Select(each => each.Path)
            .Where(path => folders.Length == 0 || folders.Any(folder => path.StartsWith(folder, StringComparison.Ordinal)))];
        string runtime = Path.GetDirectoryName(typeof(object).Assembly.Location)!;
        string[] theirs = [.. Directory.EnumerateFiles(built, "*.dll").Where(path => IsReference(path, project, runtime))];
        return new MutantCompiler(project, [.. files, .. written], mutated,
            [.. Directory.EnumerateFiles(runtime, "*.dll").Where(IsManaged), .. theirs], Generators(runtime));
    }

    private static bool IsReference(string path, string project, string runtime)
    {
        string name = Path.GetFileNameWithoutExtension(path);
        return name != project && !name.StartsWith($"{project}.", StringComparison.Ordinal) && IsManaged(path)
            && !File.Exists(Path.Combine(runtime, Path.GetFileName(path)))
            && (name.StartsWith("Vmm.", StringComparison.Ordinal) || name.StartsWith("Microsoft.Extensions.", StringComparison.Ordinal));
    }

    private static bool IsManaged(string path)
    {
        try
        {
            System.Reflection.AssemblyName.GetAssemblyName(path);
            return true;
        }
        catch (BadImageFormatException)
        {
            return false;
        }
    }

    /// <summary>Those of the reference pack of the runtime that this runs on: P/Invokes, regular expressions, logging.</summary>
    private static IEnumerable<string> Generators(string runtime)
    {
        string packs = Path.GetFullPath(Path.Combine(runtime, "..", "..", "..", "packs"));
        return Directory.EnumerateFiles(packs, "*.dll", SearchOption.AllDirectories)
            .Where(path => path.Contains("/Microsoft.NETCore.App.Ref/", StringComparison.Ordinal)
                && path.Contains("/analyzers/dotnet/cs/", StringComparison.Ordinal)
                && Path.GetFileName(path) is "Microsoft.Interop.LibraryImportGenerator.dll" or "Microsoft.Interop.SourceGeneration.dll"
                    or "System.Text.RegularExpressions.Generator.dll")
            .Where(path => !path.EndsWith("SourceGeneration.dll", StringComparison.Ordinal));
    }

    private static void CopyTree(string from, string to)
    {
        if (Directory.Exists(to)) Directory.Delete(to, recursive: true);
        foreach (string path in Directory.EnumerateFiles(from, "*", SearchOption.AllDirectories))
        {
            string copy = Path.Combine(to, Path.GetRelativePath(from, path));
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            File.Copy(path, copy);
        }
    }

    private static string FindRoot()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "vmm.sln"))) return folder.FullName;
        }
        throw new DirectoryNotFoundException("no vmm.sln above this program: it runs in a checkout");
    }

    private static int Refuse(string sentence)
    {
        Console.Error.WriteLine(sentence);
        return 1;
    }
}
