using System.CommandLine;
using System.Security.Cryptography;

namespace Vmm.Fuzz;

/// <summary><c>run</c>: targets, each for a time, from a seed or on one input.</summary>
internal static class RunCommand
{
    private const int Broken = 1;

    internal static Command Create()
    {
        Argument<string[]> names =
            new("TARGET") { Description = $"Which; all by default: {string.Join(", ", FuzzTargets.All.Select(target => target.Name))}." };
        names.AcceptOnlyFromAmong([.. FuzzTargets.All.Select(target => target.Name)]);
        Option<double> seconds = new("--seconds")
        {
            HelpName = "N",
            Description = "How long each target runs.",
            DefaultValueFactory = _ => 20
        };
        Option<long> seed = new("--seed")
        {
            HelpName = "N",
            Description = "The first seed.",
            DefaultValueFactory = _ => Random.Shared.NextInt64()
        };
        Option<long> count = new("--count")
        {
            HelpName = "N",
            Description = "Most seeds of each target.",
            DefaultValueFactory = _ => long.MaxValue
        };
        Option<FileInfo?> input = new("--input") { HelpName = "FILE", Description = "Runs the bytes of a file, once, instead of seeds." };
        Command command =
            new("run", "Runs targets, and prints executions a second and what was met.") { names, seconds, seed, count, input };
        command.SetAction(parsed =>
        {
            string[] wanted = parsed.GetValue(names) ?? [];
            IEnumerable<FuzzTarget> targets = wanted.Length == 0 ? FuzzTargets.All : wanted.Select(name => FuzzTargets.Find(name)!);
            return targets.ToArray()
                .All(target => Run(target, parsed.GetValue(input), parsed.GetValue(seed), parsed.GetValue(seconds), parsed.GetValue(count)))
                ? 0
                : Broken;
        });
        return command;
    }

    private static bool Run(FuzzTarget target, FileInfo? input, long seed, double seconds, long count)
    {
        Console.WriteLine($"{target.Name}: from {(input is null ? $"seed {seed}" : input)}");
        try
        {
            if (input is null) RunSeeds(target, seed, TimeSpan.FromSeconds(seconds), count);
            else RunFile(target, input);
            return true;
        }
        catch (Exception broken) when (broken is FuzzFailureException or BrokenPromiseException)
        {
            Console.WriteLine($"BROKEN: {broken}");
            if (broken is FuzzFailureException failure && input is null) Save(target, failure.Input);
            return false;
        }
    }

    /// <summary>For the corpus, once it is mended.</summary>
    private static void Save(FuzzTarget target, byte[] input)
    {
        string path = Path.Combine("artifacts", "fuzz", target.Name, Convert.ToHexStringLower(SHA256.HashData(input))[..16]);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllBytes(path, input);
        Console.WriteLine($"the input is in {path}");
    }

    private static void RunFile(FuzzTarget target, FileInfo input)
    {
        using FuzzRun run = new(target);
        run.RunInput(File.ReadAllBytes(input.FullName), $"tools/fuzz.sh {target.Name} --input {input}");
    }

    private static void RunSeeds(FuzzTarget target, long seed, TimeSpan time, long count)
    {
        // What the runtime opens and keeps for itself it opens here.
        using (FuzzRun warmUp = new(target))
        {
            warmUp.RunCorpus();
            warmUp.RunSeeds(0, TimeSpan.FromMilliseconds(100));
        }
        Leaks leaks = new();
        using (FuzzRun run = new(target))
        {
            run.RunSeeds(seed, time, count);
            Console.WriteLine($"{target.Name}: {run.Executions} executions, {run.Rate:N0} a second; "
                + string.Join(", ", run.Tally.Counts.Select(each => $"{each.Key} {each.Value}")));
        }
        if (leaks.Find() is { } left) throw new BrokenPromiseException(left);
    }
}
