namespace Vmm.Mutants;

/// <summary>What became of a mutant.</summary>
internal enum Fate
{
    /// <summary>A test failed.</summary>
    Killed,
    /// <summary>The tests did not end: a hang is noticed too.</summary>
    TimedOut,
    /// <summary>Every test that runs its line passed.</summary>
    Survived,
    /// <summary>No test runs its line.</summary>
    NotRun,
}

/// <summary>
/// Runs the suites once each to see which lines they run, and then, for each mutant, the suites that run its line, the shortest first.
/// </summary>
internal sealed class Campaign(TestProgram tests, TimeSpan suiteMax)
{
    /// <summary>Suites are run together until they take this long.</summary>
    private static readonly TimeSpan BatchLength = TimeSpan.FromSeconds(1);

    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(15);

    private readonly List<Suite> _suites = [];

    /// <summary>Runs each suite without a mutant.</summary>
    /// <returns>Suites that were left out, with the reason.</returns>
    internal List<string> Measure(IEnumerable<string> names)
    {
        List<string> leftOut = [];
        foreach (string name in names)
        {
            TestEnd end = tests.Run(0, [name], suiteMax + Grace, out int[] hits);
            if (end == TestEnd.Failed)
            {
                // An earlier suite may have used up what a thread or a process has of something, such as registered rings.
                tests.Restart();
                end = tests.Run(0, [name], suiteMax + Grace, out hits);
            }
            if (end != TestEnd.Passed || tests.Used > suiteMax)
                leftOut.Add($"{name}: {end} after {tests.Used.TotalSeconds:F1} s of processor time");
            else _suites.Add(new Suite(name, tests.Used, [.. hits]));
        }
        _suites.Sort((left, right) => left.Length.CompareTo(right.Length));
        return leftOut;
    }

    /// <summary>Runs the suites that run the line of a mutant, until one notices it.</summary>
    /// <param name="mutant">The mutant.</param>
    /// <param name="killers">The suites of which one noticed it.</param>
    internal Fate Try(Mutant mutant, out string killers)
    {
        killers = "";
        Suite[] suites = [.. _suites.Where(suite => suite.Hits.Contains(mutant.Id))];
        if (suites.Length == 0) return Fate.NotRun;
        foreach (Suite[] batch in Batches(suites))
        {
            TestEnd end = Noticed(mutant, batch);
            if (end == TestEnd.Passed) continue;
            killers = string.Join(' ', batch.Select(each => each.Name.Split('.')[^1]));
            return end == TestEnd.Failed ? Fate.Killed : Fate.TimedOut;
        }
        return Fate.Survived;
    }

    /// <summary>
    /// Runs suites with a mutant on. A failure counts only if the same suites pass without the mutant in a process that no mutant has been
    /// in: what an earlier one left behind could have failed them.
    /// </summary>
    private TestEnd Noticed(Mutant mutant, Suite[] batch)
    {
        string[] names = [.. batch.Select(each => each.Name)];
        TimeSpan limit = Grace + 6 * TimeSpan.FromTicks(batch.Sum(each => each.Length.Ticks));
        TestEnd end = tests.Run(mutant.Id, names, limit, out _);
        if (end == TestEnd.Passed) return end;
        if (end == TestEnd.TimedOut || tests.Run(0, names, limit, out _) == TestEnd.Passed) return end;
        tests.Restart();
        end = tests.Run(mutant.Id, names, limit, out _);
        if (end != TestEnd.Passed) tests.Restart();
        return end;
    }

    private static IEnumerable<Suite[]> Batches(IEnumerable<Suite> suites)
    {
        List<Suite> batch = [];
        foreach (Suite suite in suites)
        {
            batch.Add(suite);
            if (TimeSpan.FromTicks(batch.Sum(each => each.Length.Ticks)) < BatchLength) continue;
            yield return [.. batch];
            batch.Clear();
        }
        if (batch.Count > 0) yield return [.. batch];
    }

    private sealed record Suite(string Name, TimeSpan Length, HashSet<int> Hits);
}
