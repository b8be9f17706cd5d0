using System.Diagnostics;
using System.Globalization;
using Spectre.Console;
using Vmm.Devices;
using Vmm.Devices.Kvm;

namespace Vmm.Benchmarks;

/// <summary>
/// Part of <c>compare snapshot</c>: what a difference costs after one page of a hundred was written, beside a whole snapshot.
/// </summary>
internal static class DifferenceReport
{
    private const ulong MemoryBytes = 1UL << 30, First = 0x40_0000, Stride = 409600;
    private const double BytesMost = 0.03, TimeMost = 0.2;
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    /// <summary>Runs it, and prints both.</summary>
    /// <param name="console">Where the table goes.</param>
    /// <param name="isQuick">Three of each, in place of eleven.</param>
    internal static void Print(IAnsiConsole console, bool isQuick)
    {
        int rounds = isQuick ? 3 : 11;
        string directory = Directory.CreateTempSubdirectory("vmm-difference-").FullName;
        try
        {
            string kernel = Path.Combine(directory, "kernel");
            TinyKernel.Write(kernel, TinyKernel.WriteSomeForEver);
            using DeviceHost host = new(new KvmBoard(new KvmMachineOptions { Boot = new BootSource(kernel), MemoryBytes = MemoryBytes }));
            host.AddSerial("ttyS0", new SerialPortOptions());
            using KvmMachine machine = new(host);
            using CancellationTokenSource stop = new();
            Task<MachineResult> run = Task.Run(() => machine.Run(stop.Token));
            List<SnapshotResult> whole = [], difference = [];
            List<long> wholeBytes = [], differenceBytes = [];
            for (int round = 0; round < rounds; round++)
            {
                string to = Path.Combine(directory, "whole"), changed = Path.Combine(directory, "changed");
                WaitForPass(host, run);
                whole.Add(machine.SaveAsync(to).GetAwaiter().GetResult());
                WaitForPass(host, run);
                difference.Add(machine.SaveAsync(changed, new SnapshotOptions { Base = to }).GetAwaiter().GetResult());
                wholeBytes.Add(whole[^1].BytesWritten + new FileInfo(Path.Combine(to, "state.json")).Length);
                differenceBytes.Add(difference[^1].BytesWritten + new FileInfo(Path.Combine(changed, "state.json")).Length);
                if (round == 0) MachineSnapshot.Open(changed).Verify();
                Directory.Delete(to, recursive: true);
                Directory.Delete(changed, recursive: true);
            }
            stop.Cancel();
            run.Wait();
            console.MarkupLineInterpolated(
                $"[bold]snapshot-difference[/]: 1 GiB, a guest that writes one page of a hundred, {rounds} of each");
            Table table = new Table().Border(TableBorder.Simple).AddColumns("", "MiB", "whole save p50 ms", "stop p50 ms");
            table.AddRow(Row("whole", whole, wholeBytes)).AddRow(Row("difference", difference, differenceBytes));
            console.Write(table);
            double bytes = (double)differenceBytes.Max() / wholeBytes.Min();
            double time = Median(difference.Select(save => save.Elapsed)) / Median(whole.Select(save => save.Elapsed));
            console.MarkupLineInterpolated(CultureInfo.InvariantCulture,
                $"the difference has {bytes:0.0000} of the bytes (at most {BytesMost})");
            console.MarkupLineInterpolated(CultureInfo.InvariantCulture, $"and takes {time:0.000} of the time (at most {TimeMost})");
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    /// <summary>Waits until the guest has written all that it writes once more.</summary>
    private static void WaitForPass(DeviceHost host, Task run)
    {
        const ulong last = First + (MemoryBytes - First - 1) / Stride * Stride;
        long start = Stopwatch.GetTimestamp();
        ulong before = Read(last);
        // The first of all passes writes every page, which the last one of the memory shows.
        while (Read(MemoryBytes - 4096) == 0 || Read(last) < before + 2)
        {
            if (run.IsCompleted || Stopwatch.GetElapsedTime(start) > Patience)
                throw new InvalidOperationException("the guest does not write");
            Thread.Sleep(1);
        }

        ulong Read(ulong address)
        {
            byte[] bytes = new byte[sizeof(ulong)];
            host.Memory.TryRead(address, bytes);
            return BitConverter.ToUInt64(bytes);
        }
    }

    private static string[] Row(string what, List<SnapshotResult> saves, List<long> bytes) =>
    [
        what, Text(bytes.Max() / (double)(1 << 20)), Text(Median(saves.Select(save => save.Elapsed))),
        Text(Median(saves.Select(save => save.Stopped))),
    ];

    private static double Median(IEnumerable<TimeSpan> times)
    {
        double[] sorted = [.. times.Select(time => time.TotalMilliseconds).Order()];
        return sorted[sorted.Length / 2];
    }

    private static string Text(double value) => value.ToString("0.0", CultureInfo.InvariantCulture);
}
