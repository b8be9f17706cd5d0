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
            using Busyness watch = new(server);
            (BlockLoad ours, BlockLoad theirs) = BlockLoad.Compare(disks.Ours, disks.Theirs, access, Deep, seconds);
            double busy = watch.Typical();
            Print(table, $"{access}, depth {Deep}", ours, theirs);
            table.Say($"{access}, depth {Deep}: processors of the server", BoundTable.Two(busy));
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
            Tool.Run("env", $"VMM_CEPH_BYTES={4L << 30}", script, "start", cluster);
            // An image has one writer. Each is large enough that few of the writes in flight are of the same block.
            foreach (string name in (string[])["ours", "theirs", "fio"])
            {
                Tool.Run("rbd", "-c", configuration, "create", "--size", "256M", name);
                Tool.Run("rbd", "-c", configuration, "bench", "--io-type", "write", "--io-size", "4M", "--io-total", "256M", name);
            }
            // fio and the other's driver switch the cache off by options of their own.
            string through = ConfigurationWith(configuration, "through", "rbd cache = false");
            using (RemoteDisks disks = new(folder, $"rbd:rbd/ours?conf={through}",
                $"driver=rbd,pool=rbd,image=theirs,conf={through},cache.direct=on"))
            {
                foreach (string access in Accesses) Direct(table, disks, through, access, seconds, isQuick);
                (IReadOnlyList<string> mine, IReadOnlyList<string> others) = disks.OwnThreads;
                table.Say("threads that are not Ceph's: ours", string.Join(", ", mine));
                table.Say("threads that are not Ceph's: qemu-storage-daemon", string.Join(", ", others));
                table.AtMost($"threads that are not Ceph's: {mine.Count} / {others.Count}", (double)mine.Count / others.Count, 0.5);
            }
            // Ours is so in any case; the load does not flush, which would have the other's cache work.
            string around = ConfigurationWith(configuration, "around", "rbd cache writethrough until flush = false");
            using RemoteDisks cached = new(folder, $"rbd:rbd/ours?conf={around}", $"driver=rbd,pool=rbd,image=theirs,conf={around}");
            Cached(table, cached, around, isQuick ? 5 : 20, isQuick ? 3 : 5);
        }
        finally
        {
            Tool.Run(script, "stop", cluster);
        }
        table.Print(console);
        return table.IsKept;
    }

    /// <summary>Without librbd's write cache: a write is over when the OSD has it.</summary>
    private static void Direct(BoundTable table, RemoteDisks disks, string configuration, string access, int seconds, bool isQuick)
    {
        string load = $"{access}, depth {Deep}";
        (BlockLoad ours, BlockLoad theirs) = BlockLoad.Compare(disks.Ours, disks.Theirs, access, Deep, seconds);
        Print(table, load, ours, theirs);
        table.AtLeast($"{load}: operations", ours.OperationsPerSecond / theirs.OperationsPerSecond, 1.0);
        table.AtMost($"{load}: CPU an operation", ours.CpuMicroseconds / theirs.CpuMicroseconds, 1.0);
        // In turns: what the OSD does for others of the host in between meets both.
        (int rounds, int each) = isQuick ? (3, 2) : (7, 3);
        double[][] turns =
        [
            .. Enumerable.Range(0, rounds).Select(_ => (double[])
            [
                Rested(() => BlockLoad.Measure(disks.Ours, access, Deep, each).OperationsPerSecond),
                Rested(() => Fio(configuration, access, each, isDirect: true)),
            ]),
        ];
        SayTurns(table, $"{load}: ours, fio", turns);
        table.AtLeast($"{load}: operations / fio", MedianRatio(turns, 0, 1), 0.95);
    }

    /// <summary>
    /// With it a write is over before the OSD has it, up to <c>rbd_cache_max_dirty</c> (24 MiB). So each load is long, and what the one
    /// before left has gone out when the next begins.
    /// </summary>
    private static void Cached(BoundTable table, RemoteDisks disks, string configuration, int seconds, int rounds)
    {
        const string Load = "randwrite into librbd's cache";
        double[][] turns =
        [
            .. Enumerable.Range(0, rounds).Select(_ => (double[])
            [
                Rested(() => BlockLoad.Measure(disks.Ours, "randwrite", Deep, seconds).OperationsPerSecond),
                Rested(() => BlockLoad.Measure(disks.Theirs, "randwrite", Deep, seconds).OperationsPerSecond),
                Rested(() => Fio(configuration, "randwrite", seconds, isDirect: false)),
            ]),
        ];
        SayTurns(table, $"{Load}: ours, qemu-storage-daemon, fio", turns);
        table.AtLeast($"{Load}: operations", MedianRatio(turns, 0, 1), 1.0);
        table.AtLeast($"{Load}: operations / fio", MedianRatio(turns, 0, 2), 0.95);
    }

    private static void SayTurns(BoundTable table, string what, double[][] turns) =>
        table.Say(what, string.Join("; ", turns.Select(turn => string.Join(", ", turn.Select(figure => $"{figure:N0}")))) + " op/s");

    private static double MedianRatio(double[][] turns, int a, int b) =>
        turns.Select(turn => turn[a] / turn[b]).Order().ElementAt(turns.Length / 2);

    private static double Rested(Func<double> measure)
    {
        Thread.Sleep(TimeSpan.FromSeconds(2));
        return measure();
    }

    /// <summary>A copy of a cluster's configuration with an option of its clients.</summary>
    private static string ConfigurationWith(string configuration, string name, string option)
    {
        // Its last section is that of the clients.
        string path = Path.ChangeExtension(configuration, $"{name}.conf");
        File.WriteAllText(path, $"{File.ReadAllText(configuration)}{option}\n");
        return path;
    }

    private static void Print(BoundTable table, string load, BlockLoad ours, BlockLoad theirs)
    {
        table.Say($"{load}: ours", $"{ours.OperationsPerSecond:N0} op/s, {BoundTable.Two(ours.CpuMicroseconds)} µs CPU an operation");
        table.Say($"{load}: qemu-storage-daemon",
            $"{theirs.OperationsPerSecond:N0} op/s, {BoundTable.Two(theirs.CpuMicroseconds)} µs CPU an operation");
        if (ours.Errors > 0) table.AtMost($"{load}: errors", ours.Errors, 0);
    }

    /// <param name="configuration">The cluster's.</param>
    /// <param name="access">What it does.</param>
    /// <param name="seconds">For how long.</param>
    /// <param name="isDirect">Whether it does without librbd's cache; else it flushes when it begins, which has the cache work.</param>
    private static double Fio(string configuration, string access, int seconds, bool isDirect)
    {
        using JsonDocument report = JsonDocument.Parse(Tool.Run("env", $"CEPH_CONF={configuration}", "fio", "--name=compare",
            "--output-format=json", "--ioengine=rbd", "--clientname=admin", "--pool=rbd", "--rbdname=fio", "--bs=4k",
            $"--iodepth={Deep}", $"--rw={access}", "--time_based",
            string.Create(CultureInfo.InvariantCulture, $"--runtime={seconds}"), "--randrepeat=0",
            // The same blocks as our load: any, any number of times.
            "--norandommap", isDirect ? "--direct=1" : "--direct=0"));
        string direction = access == "randread" ? "read" : "write";
        return report.RootElement.GetProperty("jobs")[0].GetProperty(direction).GetProperty("iops").GetDouble();
    }

    private static string RepositoryRoot()
    {
        DirectoryInfo? at = new(AppContext.BaseDirectory);
        while (at is not null && !File.Exists(Path.Combine(at.FullName, "vmm.sln"))) at = at.Parent;
        return at?.FullName ?? throw new IOException("tools/ceph.sh is in the repository: run this from a build in it");
    }
}
