using System.Diagnostics;
using System.Globalization;
using Spectre.Console;
using Vmm.Devices;
using Vmm.Devices.Kvm;
using Vmm.Tool;

namespace Vmm.Benchmarks;

/// <summary>
/// <c>compare save</c>: how long a guest that writes all of its memory all the time stands still while it is saved, live and with a full
/// stop, in turns.
/// </summary>
internal static class SaveReport
{
    internal const string Suite = "save";

    private const ulong MemoryBytes = 1UL << 30;
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    /// <summary>Runs it, and prints a row for each kind of save.</summary>
    /// <param name="console">Where the table goes.</param>
    /// <param name="isQuick">Three saves of each, in place of twenty.</param>
    /// <returns>Whether each snapshot was as it was saved.</returns>
    internal static bool Print(IAnsiConsole console, bool isQuick)
    {
        int rounds = isQuick ? 3 : 20;
        string directory = Directory.CreateTempSubdirectory("vmm-save-").FullName;
        try
        {
            string kernel = Path.Combine(directory, "kernel");
            TinyKernel.Write(kernel, TinyKernel.WriteForEver);
            using DeviceHost host = new(new KvmBoard(new KvmMachineOptions { Boot = new BootSource(kernel), MemoryBytes = MemoryBytes }));
            host.AddSerial("ttyS0", new SerialPortOptions());
            using KvmMachine machine = new(host);
            using CancellationTokenSource stop = new();
            Task<MachineResult> run = Task.Run(() => machine.Run(stop.Token));
            long start = Stopwatch.GetTimestamp();
            // The last page is written in the first pass.
            byte[] last = new byte[1];
            while (!host.Memory.TryRead(MemoryBytes - 4096, last) || last[0] == 0)
            {
                if (run.IsCompleted || Stopwatch.GetElapsedTime(start) > Patience)
                    throw new InvalidOperationException("the guest does not write");
                Thread.Sleep(10);
            }
            List<SnapshotResult> live = [], stopped = [];
            ProgressLine progress = new(TimeSpan.Zero, Suite);
            for (int round = 0; round < rounds; round++)
            {
                progress.Report($"round {round + 1} of {rounds}");
                live.Add(Save(machine, directory, isLive: true, round));
                stopped.Add(Save(machine, directory, isLive: false, round));
            }
            progress.End();
            stop.Cancel();
            run.Wait();
            Table table = new Table().Border(TableBorder.Simple)
                .AddColumns("save", "stop p50 ms", "stop most ms", "whole save p50 ms", "MiB");
            table.AddRow(Row("live", live)).AddRow(Row("full stop", stopped));
            console.MarkupLineInterpolated($"[bold]{Suite}[/]: 1 GiB, a guest that writes all of it all the time, {rounds} saves of each");
            console.Write(table);
            double ratio = Median(live, save => save.Stopped) / Median(stopped, save => save.Stopped);
            console.MarkupLineInterpolated(CultureInfo.InvariantCulture,
                $"the guest stands still for {ratio:0.000} of the time of a full stop");
            return true;
        }
        catch (StateException changed)
        {
            console.MarkupLineInterpolated($"{changed.Message}");
            return false;
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static SnapshotResult Save(KvmMachine machine, string directory, bool isLive, int round)
    {
        string path = Path.Combine(directory, "saved");
        SnapshotResult saved = machine.SaveAsync(path, new SnapshotOptions { Live = isLive }).GetAwaiter().GetResult();
        if (round == 0) MachineSnapshot.Open(path).Verify();
        Directory.Delete(path, recursive: true);
        return saved;
    }

    private static string[] Row(string way, List<SnapshotResult> saves) =>
    [
        way, Text(Median(saves, save => save.Stopped)), Text(saves.Max(save => save.Stopped.TotalMilliseconds)),
        Text(Median(saves, save => save.Elapsed)), (saves[0].BytesWritten >> 20).ToString(CultureInfo.InvariantCulture),
    ];

    private static double Median(List<SnapshotResult> saves, Func<SnapshotResult, TimeSpan> of) =>
        saves.Select(save => of(save).TotalMilliseconds).Order().ElementAt(saves.Count / 2);

    private static string Text(double milliseconds) => milliseconds.ToString("0.0", CultureInfo.InvariantCulture);
}
