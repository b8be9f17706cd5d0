using System.Diagnostics;
using System.Globalization;
using Spectre.Console;
using Vmm.Devices;

namespace Vmm.Benchmarks;

/// <summary>
/// <c>compare limits</c>: whether a limited disk does what its limit says, and what a disk of the same reactor notices of one that is held.
/// </summary>
internal static class LimitReport
{
    internal const string Suite = "limits";

    private const int Operations = 5000, Held = 100, BurstSeconds = 3, Depth = 32, RequestBytes = 4096;
    private const int BytesPerSecond = 40 << 20, Slices = 7;

    /// <summary>What the bound is for.</summary>
    private const int RateSeconds = 10;

    /// <summary>The rate may be off by this part, and a burst by a little more: it ends at some time of the second.</summary>
    private const double RateOff = 0.02, BurstOff = 0.05;

    private const long DiskBytes = 16 << 20;

    /// <returns>Whether every bound is kept.</returns>
    internal static bool Print(IAnsiConsole console, bool isQuick)
    {
        console.MarkupLineInterpolated($"[bold]{Suite}[/]: 4 KiB reads, {Depth} in flight, {RateSeconds} s");
        BoundTable table = new(Suite);
        using Folder folder = new();
        Rates(table, folder);
        Neighbour(table, folder, isQuick ? TimeSpan.FromMilliseconds(500) : TimeSpan.FromSeconds(2));
        table.Print(console);
        return table.IsKept;
    }

    private static void Rates(BoundTable table, Folder folder)
    {
        (string iops, string bytes, string burst) = (folder.PathOf("iops"), folder.PathOf("bytes"), folder.PathOf("burst"));
        using MeasuredProcess server = Serve(burst,
            "--blk", string.Create(CultureInfo.InvariantCulture, $"path=null:1G,socket={iops},limit=iops={Operations}"),
            "--blk", string.Create(CultureInfo.InvariantCulture, $"path=null:1G,socket={bytes},limit=bytes={BytesPerSecond}"),
            "--blk", string.Create(CultureInfo.InvariantCulture,
                $"path=null:1G,socket={burst},limit=iops={Operations},burst={BurstSeconds}"));
        // A burst is full from the start. Those of 0.1 s, which the others have, are within the bound over 10 s.
        BlockLoad first = BlockLoad.Measure(burst, "randread", Depth, 1);
        table.Near($"operations in the first second, with a burst of {BurstSeconds} s", first.OperationsPerSecond,
            Operations * (BurstSeconds + 1), BurstOff);
        table.Near("operations a second", BlockLoad.Measure(iops, "randread", Depth, RateSeconds).OperationsPerSecond, Operations,
            RateOff);
        BlockLoad load = BlockLoad.Measure(bytes, "randread", Depth, RateSeconds);
        table.Near("MiB a second", load.OperationsPerSecond * RequestBytes / (1 << 20), BytesPerSecond >> 20, RateOff);
    }

    private static void Neighbour(BoundTable table, Folder folder, TimeSpan slice)
    {
        (string held, string free) = (folder.PathOf("held"), folder.PathOf("free"));
        string image = folder.PathOf("image");
        using (FileStream file = File.Create(image)) file.SetLength(DiskBytes);
        using MeasuredProcess server = Serve(free,
            "--blk", string.Create(CultureInfo.InvariantCulture, $"path=null:1G,socket={held},limit=iops={Held}"),
            "--blk", $"path={image},socket={free}");
        using NeighbourLoad load = new(free, DiskBytes);
        LatencyHistogram alone = new(), beside = new();
        load.Run(slice, new LatencyHistogram());
        for (int i = 0; i < Slices; i++)
        {
            load.Run(slice, alone);
            using Process other = Hold(held, slice);
            load.Run(slice, beside);
            other.Kill();
            other.WaitForExit();
        }
        table.AtMost($"a neighbour's median, while the other is held at {Held} a second", Ratio(beside, alone, 50), 1.1);
        table.AtMost("a neighbour's p99", Ratio(beside, alone, 99), 1.5);
        if (load.Errors > 0) table.AtMost("a neighbour's errors", load.Errors, 0);
    }

    /// <summary>A front-end whose disk is out of tokens by the time that this returns.</summary>
    private static Process Hold(string socket, TimeSpan slice)
    {
        string seconds = Math.Ceiling(slice.TotalSeconds + 5).ToString(CultureInfo.InvariantCulture);
        ProcessStartInfo start = new(PublishedTool.Path, ["bench", "vhost-user-blk", "--socket", socket, "--seconds", seconds]);
        start.RedirectStandardOutput = true;
        Process process = Process.Start(start)!;
        Thread.Sleep(TimeSpan.FromMilliseconds(300));
        return process;
    }

    private static double Ratio(LatencyHistogram a, LatencyHistogram b, int percent) =>
        (double)a.Percentile(percent) / b.Percentile(percent);

    private static MeasuredProcess Serve(string last, params string[] disks) =>
        RemoteDisks.Listen(last, [PublishedTool.Path, "serve", PublishedTool.NoSandbox, "--reactors", "1", .. disks]);
}
