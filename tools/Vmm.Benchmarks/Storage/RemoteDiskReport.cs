using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Spectre.Console;

namespace Vmm.Benchmarks;

/// <summary>
/// <c>compare nbd</c> and <c>compare rbd</c>: a disk of a server, by <c>vmm serve</c> and by <c>qemu-storage-daemon</c> (for RBD by
/// fio too), loaded in turns, a second each.
/// </summary>
internal static class RemoteDiskReport
{
    internal const string NbdSuite = "nbd", RbdSuite = "rbd";

    private const int Deep = 32;

    /// <summary>Debian has it in a package of its own.</summary>
    private const string DriverOfOther = "/usr/lib/x86_64-linux-gnu/qemu/block-rbd.so";

    /// <summary>A server that uses so much of a processor is what limits both.</summary>
    private const double Full = 0.95;

    private static readonly string[] Accesses = ["randread", "randwrite"];

    /// <returns>Whether every bound is kept.</returns>
    internal static bool PrintNbd(IAnsiConsole console, bool isQuick)
    {
        int seconds = isQuick ? 2 : 15;
        console.MarkupLineInterpolated($"[bold]{NbdSuite}[/]: 4 KiB requests of nbdkit memory at a Unix socket, {seconds} × 1 s each");
        BoundTable table = new(NbdSuite);
        using Folder folder = new();
        string socket = folder.PathOf("nbd");
        using MeasuredProcess server = RemoteDisks.Listen(socket, "nbdkit", "--foreground", "--unix", socket, "memory", "256M");
        using RemoteDisks disks = new(folder, $"nbd+unix:///?socket={socket}", $"driver=nbd,server.type=unix,server.path={socket}");
        foreach (string access in Accesses)
        {
            TimeSpan before = server.ProcessorTime;
            long start = Stopwatch.GetTimestamp();
            (BlockLoad ours, BlockLoad theirs) = BlockLoad.Compare(disks.Ours, disks.Theirs, access, Deep, seconds);
            double busy = (server.ProcessorTime - before) / Stopwatch.GetElapsedTime(start);
            Print(table, $"{access}, depth {Deep}", ours, theirs);
            double ratio = ours.OperationsPerSecond / theirs.OperationsPerSecond;
            if (busy < Full) table.AtLeast($"{access}, depth {Deep}: operations", ratio, 1.2);
            else table.Say($"{access}, depth {Deep}: operations", $"{BoundTable.Two(ratio)}, not judged: the server's processor is full");
            table.AtMost($"{access}, depth {Deep}: CPU an operation", ours.CpuMicroseconds / theirs.CpuMicroseconds, 0.7);
            (ours, theirs) = BlockLoad.Compare(disks.Ours, disks.Theirs, access, 1, seconds);
            Print(table, $"{access}, depth 1", ours, theirs);
            table.AtLeast($"{access}, depth 1: operations", ours.OperationsPerSecond / theirs.OperationsPerSecond, 1.0);
        }
        table.Print(console);
        return table.IsKept;
    }

    /// <returns>Whether every bound is kept.</returns>
    internal static bool PrintRbd(IAnsiConsole console, bool isQuick)
    {
        if (!File.Exists(DriverOfOther)) throw Tool.Missing(DriverOfOther);
        int seconds = isQuick ? 2 : 15;
        console.MarkupLineInterpolated($"[bold]{RbdSuite}[/]: 4 KiB requests of a cluster of one OSD in memory, {seconds} × 1 s each");
        BoundTable table = new(RbdSuite);
        using Folder folder = new();
        string cluster = folder.PathOf("ceph"), configuration = Path.Combine(cluster, "ceph.conf");
        string script = Path.Combine(RepositoryRoot(), "tools", "ceph.sh");
        try
        {
            Tool.Run(script, "start", cluster);
            // An image has one writer.
            foreach (string name in (string[])["ours", "theirs", "fio"])
            {
                Tool.Run("rbd", "-c", configuration, "create", "--size", "64M", name);
                Tool.Run("rbd", "-c", configuration, "bench", "--io-type", "write", "--io-size", "4M", "--io-total", "64M", name);
            }
            using RemoteDisks disks = new(folder, $"rbd:rbd/ours?conf={configuration}",
                $"driver=rbd,pool=rbd,image=theirs,conf={configuration}");
            foreach (string access in Accesses)
            {
                (BlockLoad ours, BlockLoad theirs) = BlockLoad.Compare(disks.Ours, disks.Theirs, access, Deep, seconds);
                Print(table, $"{access}, depth {Deep}", ours, theirs);
                table.AtLeast($"{access}, depth {Deep}: operations", ours.OperationsPerSecond / theirs.OperationsPerSecond, 1.0);
                table.AtMost($"{access}, depth {Deep}: CPU an operation", ours.CpuMicroseconds / theirs.CpuMicroseconds, 1.0);
                double fio = Median(isQuick ? 1 : 5, () => Fio(configuration, access, isQuick ? 2 : 3));
                double beside = Median(isQuick ? 1 : 5, () =>
                    BlockLoad.Measure(disks.Ours, access, Deep, isQuick ? 2 : 3).OperationsPerSecond);
                table.AtLeast($"{access}, depth {Deep}: operations / fio ({fio:N0} a second)", beside / fio, 0.95);
            }
            (IReadOnlyList<string> mine, IReadOnlyList<string> others) = disks.OwnThreads;
            table.Say("threads that are not Ceph's: ours", string.Join(", ", mine));
            table.Say("threads that are not Ceph's: qemu-storage-daemon", string.Join(", ", others));
            table.AtMost($"threads that are not Ceph's: {mine.Count} / {others.Count}", (double)mine.Count / others.Count, 0.5);
        }
        finally
        {
            Tool.Run(script, "stop", cluster);
        }
        table.Print(console);
        return table.IsKept;
    }

    private static void Print(BoundTable table, string load, BlockLoad ours, BlockLoad theirs)
    {
        table.Say($"{load}: ours", $"{ours.OperationsPerSecond:N0} op/s, {BoundTable.Two(ours.CpuMicroseconds)} µs CPU an operation");
        table.Say($"{load}: qemu-storage-daemon",
            $"{theirs.OperationsPerSecond:N0} op/s, {BoundTable.Two(theirs.CpuMicroseconds)} µs CPU an operation");
        if (ours.Errors > 0) table.AtMost($"{load}: errors", ours.Errors, 0);
    }

    private static double Fio(string configuration, string access, int seconds)
    {
        using JsonDocument report = JsonDocument.Parse(Tool.Run("env", $"CEPH_CONF={configuration}", "fio", "--name=compare",
            "--output-format=json", "--ioengine=rbd", "--clientname=admin", "--pool=rbd", "--rbdname=fio", "--bs=4k",
            $"--iodepth={Deep}", $"--rw={access}", "--time_based",
            string.Create(CultureInfo.InvariantCulture, $"--runtime={seconds}"), "--randrepeat=0"));
        string direction = access == "randread" ? "read" : "write";
        return report.RootElement.GetProperty("jobs")[0].GetProperty(direction).GetProperty("iops").GetDouble();
    }

    private static double Median(int rounds, Func<double> measure) =>
        Enumerable.Range(0, rounds).Select(_ => measure()).Order().ElementAt(rounds / 2);

    private static string RepositoryRoot()
    {
        DirectoryInfo? at = new(AppContext.BaseDirectory);
        while (at is not null && !File.Exists(Path.Combine(at.FullName, "vmm.sln"))) at = at.Parent;
        return at?.FullName ?? throw new IOException("tools/ceph.sh is in the repository: run this from a build in it");
    }
}
