using System.Diagnostics;
using System.Globalization;
using Spectre.Console;
using Vmm.Devices;
using Vmm.Tool;

namespace Vmm.Benchmarks;

/// <summary>
/// <c>compare neighbours</c>: a disk's well-behaved front-end, while a hostile one attacks the other disk of the same reactor, and while it
/// does not, in turns.
/// </summary>
internal static class NeighbourReport
{
    internal const string Suite = "neighbours";

    /// <summary>Memory may be this much more than before, and this much for what the runtime compiles late.</summary>
    private const double MemoryFactor = 1.1;
    private const long RuntimeSlackKiB = 8192;

    /// <summary>Visits of the attacker before memory is looked at.</summary>
    private const int FirstVisits = 2;

    /// <summary>Columns of a row: it is not broken where the output is no terminal.</summary>
    private const int Width = 170;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan Settling = TimeSpan.FromMilliseconds(100);

    /// <summary>Runs every attack, and prints a row for each.</summary>
    /// <param name="console">Where the table goes.</param>
    /// <param name="isQuick">Two short windows for each attack, in place of 30 s of it.</param>
    /// <returns>Whether no neighbour met an error, the server lived, and nothing was left behind. What a request took is reported, not
    /// judged.</returns>
    internal static bool Print(IAnsiConsole console, bool isQuick)
    {
        (int windows, TimeSpan window) = isQuick ? (2, TimeSpan.FromMilliseconds(500)) : (15, TimeSpan.FromSeconds(2));
        console.Profile.Width = Math.Max(console.Profile.Width, Width);
        console.MarkupLineInterpolated(
            $"[bold]{Suite}[/]: 4 KiB reads of a neighbour, {windows} times {window.TotalSeconds} s with the attack and without");
        Table table = new Table().Border(TableBorder.Simple).AddColumns("attack", "visits", "p50 µs", "p99 µs", "p99 attacked", "ratio",
            "longest ms", "errors", "memory MiB", "left behind");
        bool isSound = true;
        ProgressLine progress = new(TimeSpan.Zero, Suite);
        int number = 0;
        foreach (Attack attack in Attack.All)
        {
            progress.Report($"{++number} of {Attack.All.Count}, {attack.What}");
            using ServedDisks server = new(attack.NeedsUnsealed);
            Outcome outcome = Run(attack, server, windows, window);
            isSound &= outcome.IsSound;
            table.AddRow(Markup.Escape(attack.What), Number(outcome.Visits), Micros(outcome.Quiet.Percentile(50)),
                Micros(outcome.Quiet.Percentile(99)),
                Micros(outcome.Attacked.Percentile(99)), ((double)outcome.Attacked.Percentile(99) / outcome.Quiet.Percentile(99))
                    .ToString("0.00", CultureInfo.InvariantCulture),
                (outcome.Attacked.Max / 1e6).ToString("0.0", CultureInfo.InvariantCulture), Number(outcome.Errors),
                $"{outcome.MemoryBefore >> 10} → {outcome.MemoryAfter >> 10}", Markup.Escape(outcome.LeftBehind ?? "nothing"));
        }
        progress.End();
        console.Write(table);
        return isSound;
    }

    private static Outcome Run(Attack attack, ServedDisks server, int windows, TimeSpan window)
    {
        using Process attacker = Start(attack, server);
        using NeighbourLoad load = new(server.Neighbour, ServedDisks.DiskBytes);
        LatencyHistogram quiet = new(), attacked = new();
        // What both sides compile and allocate at their first steps counts for nothing; on a busy machine these take longer than a window.
        load.Run(window, new LatencyHistogram());
        int visits = 0;
        for (long start = Stopwatch.GetTimestamp(); visits < FirstVisits && Stopwatch.GetElapsedTime(start) < Patience;)
            visits += Under(attacker, () => load.Run(window, new LatencyHistogram()));
        Settle(server, int.MaxValue, int.MaxValue);
        (long memory, int descriptors, int mappings) = (server.MemoryKiB, server.Descriptors, server.Mappings);
        for (int i = 0; i < windows; i++)
        {
            load.Run(window, quiet);
            visits += Under(attacker, () => load.Run(window, attacked));
        }
        attacker.StandardInput.Close();
        attacker.WaitForExit();
        string? left = Settle(server, descriptors, mappings);
        // The next front-end is served: by the attacked disk too.
        using (NeighbourLoad next = new(server.Attacked, ServedDisks.DiskBytes))
        {
            next.Run(Settling, new LatencyHistogram());
            if (next.Errors > 0) left = "an attacked disk that answers errors";
        }
        long after = server.MemoryKiB;
        if (after > (memory * MemoryFactor) + RuntimeSlackKiB) left ??= $"{after - memory} KiB";
        return new Outcome(visits, quiet, attacked, load.Errors, memory, after, left);
    }

    /// <summary>Does something while the attack runs.</summary>
    /// <returns>How often the attacker came.</returns>
    private static int Under(Process attacker, Action action)
    {
        attacker.StandardInput.WriteLine(AttackCommand.Begin);
        attacker.StandardInput.Flush();
        action();
        attacker.StandardInput.WriteLine(AttackCommand.End);
        attacker.StandardInput.Flush();
        return int.Parse(attacker.StandardOutput.ReadLine() ?? throw new IOException("the attacker failed"), CultureInfo.InvariantCulture);
    }

    private static Process Start(Attack attack, ServedDisks server) => Process.Start(
        // It has what the others leave: that it uses up a processor is no fault of the server.
        new ProcessStartInfo("nice",
        [
            "-n", "19", "dotnet", typeof(NeighbourReport).Assembly.Location, AttackCommand.Name, attack.Name,
            attack.OnConsole ? server.AttackedConsole : server.Attacked,
        ])
        { RedirectStandardInput = true, RedirectStandardOutput = true })!;

    /// <summary>Waits until the server has let go of what the attacker had.</summary>
    /// <returns>What it did not let go of; null for nothing.</returns>
    private static string? Settle(ServedDisks server, int descriptors, int mappings)
    {
        for (long start = Stopwatch.GetTimestamp(); ;)
        {
            if (server.HasEnded) return $"a dead server: {server.Complaints}";
            Thread.Sleep(Settling);
            (int fds, int maps) = (server.Descriptors - descriptors, server.Mappings - mappings);
            if (fds <= 0 && maps <= 0) return null;
            if (Stopwatch.GetElapsedTime(start) > Patience) return $"{fds} descriptors, {maps} mappings";
        }
    }

    private static string Micros(long nanoseconds) => (nanoseconds / 1e3).ToString("0.0", CultureInfo.InvariantCulture);

    private static string Number(long number) => number.ToString("N0", CultureInfo.InvariantCulture);

    private sealed record Outcome(
        int Visits, LatencyHistogram Quiet, LatencyHistogram Attacked, int Errors, long MemoryBefore, long MemoryAfter, string? LeftBehind)
    {
        internal bool IsSound => Errors == 0 && LeftBehind is null;
    }
}
