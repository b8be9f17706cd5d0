using System.Globalization;
using Spectre.Console;
using Vmm.Devices;
using Vmm.Devices.Kvm;
using static Vmm.Benchmarks.WritingMachine;

namespace Vmm.Benchmarks;

/// <summary>
/// Part of <c>compare snapshot</c>: what a difference costs after one page of a hundred was written, beside a whole snapshot.
/// </summary>
internal static class DifferenceReport
{
    private const ulong First = 0x40_0000, Stride = 409600;
    private const double BytesMost = 0.03, TimeMost = 0.2;

    /// <summary>Runs it, and prints both.</summary>
    /// <param name="console">Where the table goes.</param>
    /// <param name="isQuick">Three of each, in place of eleven.</param>
    internal static void Print(IAnsiConsole console, bool isQuick)
    {
        int rounds = isQuick ? 3 : 11;
        List<SnapshotResult> whole = [], difference = [];
        List<long> wholeBytes = [], differenceBytes = [];
        using (WritingMachine guest = new(TinyKernel.WriteSomeForEver))
        {
            string to = guest.PathOf("whole"), changed = guest.PathOf("changed");
            for (int round = 0; round < rounds; round++)
            {
                WaitForPass(guest);
                whole.Add(guest.Machine.SaveAsync(to).GetAwaiter().GetResult());
                WaitForPass(guest);
                difference.Add(guest.Machine.SaveAsync(changed, new SnapshotOptions { Base = to }).GetAwaiter().GetResult());
                wholeBytes.Add(whole[^1].BytesWritten + new FileInfo(Path.Combine(to, "state.json")).Length);
                differenceBytes.Add(difference[^1].BytesWritten + new FileInfo(Path.Combine(changed, "state.json")).Length);
                if (round == 0) MachineSnapshot.Open(changed).Verify();
                Directory.Delete(to, recursive: true);
                Directory.Delete(changed, recursive: true);
            }
        }
        console.MarkupLineInterpolated($"[bold]snapshot-difference[/]: 1 GiB, a guest that writes one page of a hundred, {rounds} of each");
        Table table = new Table().Border(TableBorder.Simple).AddColumns("", "MiB", "whole save p50 ms", "stop p50 ms");
        table.AddRow(Row("whole", whole, wholeBytes)).AddRow(Row("difference", difference, differenceBytes));
        console.Write(table);
        double bytes = (double)differenceBytes.Max() / wholeBytes.Min();
        double time = Median(difference, save => save.Elapsed) / Median(whole, save => save.Elapsed);
        console.MarkupLineInterpolated(
            CultureInfo.InvariantCulture, $"the difference has {bytes:0.0000} of the bytes (at most {BytesMost})");
        console.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"and takes {time:0.000} of the time (at most {TimeMost})");
    }

    /// <summary>Waits until the guest has written all that it writes once more.</summary>
    private static void WaitForPass(WritingMachine guest)
    {
        const ulong last = First + (MemoryBytes - First - 1) / Stride * Stride;
        ulong before = guest.Read(last);
        // The first of all passes writes every page, which the last one of the memory shows.
        guest.WaitUntil(() => guest.Read(MemoryBytes - 4096) != 0 && guest.Read(last) >= before + 2);
    }

    private static string[] Row(string what, List<SnapshotResult> saves, List<long> bytes) =>
    [
        what, Text(bytes.Max() / (double)(1 << 20)), Text(Median(saves, save => save.Elapsed)), Text(Median(saves, save => save.Stopped)),
    ];
}
