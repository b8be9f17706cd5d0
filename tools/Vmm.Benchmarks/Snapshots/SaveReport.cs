using System.Globalization;
using Spectre.Console;
using Vmm.Devices;
using Vmm.Devices.Kvm;
using Vmm.Tool;
using static Vmm.Benchmarks.WritingMachine;

namespace Vmm.Benchmarks;

/// <summary>
/// <c>compare save</c>: how long a guest that writes all of its memory all the time stands still while it is saved, live and with a full
/// stop, in turns.
/// </summary>
internal static class SaveReport
{
    internal const string Suite = "save";

    /// <summary>Runs it, and prints a row for each kind of save.</summary>
    /// <param name="console">Where the table goes.</param>
    /// <param name="isQuick">Three saves of each, in place of twenty.</param>
    /// <returns>Whether each snapshot was as it was saved.</returns>
    internal static bool Print(IAnsiConsole console, bool isQuick)
    {
        int rounds = isQuick ? 3 : 20;
        List<SnapshotResult> live = [], stopped = [];
        try
        {
            using WritingMachine guest = new(TinyKernel.WriteForEver);
            // The last page is written in the first pass.
            guest.WaitUntil(() => guest.Read(MemoryBytes - 4096) != 0);
            ProgressLine progress = new(TimeSpan.Zero, Suite);
            for (int round = 0; round < rounds; round++)
            {
                progress.Report($"round {round + 1} of {rounds}");
                live.Add(Save(guest, isLive: true, round));
                stopped.Add(Save(guest, isLive: false, round));
            }
            progress.End();
        }
        catch (StateException changed)
        {
            console.MarkupLineInterpolated($"{changed.Message}");
            return false;
        }
        Table table = new Table().Border(TableBorder.Simple).AddColumns("save", "stop p50 ms", "stop most ms", "whole save p50 ms", "MiB");
        table.AddRow(Row("live", live)).AddRow(Row("full stop", stopped));
        console.MarkupLineInterpolated($"[bold]{Suite}[/]: 1 GiB, a guest that writes all of it all the time, {rounds} saves of each");
        console.Write(table);
        double ratio = Median(live, save => save.Stopped) / Median(stopped, save => save.Stopped);
        console.MarkupLineInterpolated(
            CultureInfo.InvariantCulture, $"the guest stands still for {ratio:0.000} of the time of a full stop");
        return true;
    }

    private static SnapshotResult Save(WritingMachine guest, bool isLive, int round)
    {
        string path = guest.PathOf("saved");
        SnapshotResult saved = guest.Machine.SaveAsync(path, new SnapshotOptions { Live = isLive }).GetAwaiter().GetResult();
        if (round == 0) MachineSnapshot.Open(path).Verify();
        Directory.Delete(path, recursive: true);
        return saved;
    }

    private static string[] Row(string kind, List<SnapshotResult> saves) =>
    [
        kind, Text(Median(saves, save => save.Stopped)), Text(saves.Max(save => save.Stopped.TotalMilliseconds)),
        Text(Median(saves, save => save.Elapsed)), (saves[0].BytesWritten >> 20).ToString(CultureInfo.InvariantCulture),
    ];
}
