using System.Diagnostics;
using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Spectre.Console;
using Vmm.Tool;

namespace Vmm.Benchmarks;

/// <summary>
/// <c>compare footprint</c>: what the published file takes: time and processor time of a start, private memory, threads, descriptors and
/// wake-ups, each beside its bound. Times are ratios of medians over rounds that run each program once.
/// </summary>
/// <param name="isQuick">Fewer rounds, a shorter look at an idle server.</param>
internal sealed class FootprintReport(bool isQuick) : IDisposable
{
    internal const string Suite = "footprint";

    private const string StorageDaemon = "/usr/bin/qemu-storage-daemon";
    /// <summary>For what takes some hundred times as long.</summary>
    private static readonly TimeSpan BetweenLooks = TimeSpan.FromMilliseconds(1);

    private const int Disks = 1000, FrontEnds = 100;
    private const long ImageBytes = 16 << 20;
    private const ushort RingSize = 128;
    private static readonly TimeSpan Settling = TimeSpan.FromSeconds(1);

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("vmm-footprint-");
    /// <summary>In memory, as services have theirs in /run: ext4 takes longer for a socket than everything else of a disk does.</summary>
    private readonly DirectoryInfo _sockets = Directory.CreateDirectory($"/dev/shm/vmm-footprint-{Environment.ProcessId}");
    private readonly BoundTable _table =
        new(Suite, "ratios are of medians; private memory is what /proc/PID/smaps_rollup calls Private_Dirty");

    /// <summary>Measures everything, and prints a row for each bound.</summary>
    /// <returns>Whether every bound is kept. What cannot be measured here does not count.</returns>
    internal static bool Print(IAnsiConsole console, bool isQuick)
    {
        // Pages of a file that was just built and is not on the disk yet would count as written by its process.
        using (SafeFileHandle tool = File.OpenHandle(PublishedTool.Path)) RandomAccess.FlushToDisk(tool);
        using FootprintReport report = new(isQuick);
        report.MeasureStarts();
        report.MeasureServer();
        report.MeasureFrontEnds();
        report.MeasureBoot();
        report._table.AtMost("the file", new FileInfo(PublishedTool.Path).Length, 22_000_000, bytes => $"{bytes:N0} bytes");
        report._table.Print(console);
        return report._table.IsKept;
    }

    public void Dispose()
    {
        _directory.Delete(recursive: true);
        _sockets.Delete(recursive: true);
    }

    private void MeasureStarts()
    {
        string hello = HelloProgram.Write(_directory.FullName), image = Image("start"), socket = SocketOf("start");
        List<StartedProgram> programs =
        [
            new("dotnet hello.dll", ProcessMark.End, "dotnet", hello),
            new("vmm --version", ProcessMark.End, PublishedTool.Path, "--version") { BoundByDotnet = 0.2 },
            new("vmm serve until a client connects", ProcessMark.Socket, PublishedTool.Path,
                "serve", PublishedTool.NoSandbox, "--blk", $"path={image},socket={socket}") { Socket = socket, BoundByDotnet = 0.2 },
            new("vmm run … \"lsdev; poweroff\"", ProcessMark.End, PublishedTool.Path, "run", "--exec", "lsdev; poweroff")
            { BoundByDotnet = 0.4 },
            new("vmm serve in its sandbox until a client connects", ProcessMark.Socket, PublishedTool.Path,
                "serve", "--sandbox=require", "--blk", $"path={image},socket={socket}") { Socket = socket },
        ];
        if (File.Exists(StorageDaemon))
        {
            string[] command = [StorageDaemon, .. Export(0, image, socket)];
            programs.Add(new("qemu-storage-daemon until a client connects", ProcessMark.Socket, command) { Socket = socket });
        }
        if (File.Exists("/dev/kvm"))
        {
            string kernel = PathOf("kernel");
            TinyKernel.Write(kernel, TinyKernel.PrintAndHalt);
            string[] boot = [PublishedTool.Path, "boot", PublishedTool.NoSandbox, "--kernel", kernel];
            programs.Add(new("vmm boot until the guest's first byte", ProcessMark.Output, boot) { BoundByDotnet = 0.4 });
        }
        int rounds = isQuick ? 15 : 61;
        for (int round = 0; round < rounds; round++)
        {
            // Each round starts with another one, so that none always runs after the same neighbour.
            for (int i = 0; i < programs.Count; i++) programs[(round + i) % programs.Count].Run();
        }
        StartedProgram dotnet = programs[0];
        _table.Say(dotnet.Name, $"{Ms(dotnet.Wall)} wall, {Ms(dotnet.Processor)} processor");
        foreach (StartedProgram program in programs.Skip(1))
        {
            _table.AtMost($"{program.Name}, wall ({Ms(program.Wall)}) / dotnet hello.dll",
                program.Wall / dotnet.Wall, program.BoundByDotnet);
            _table.AtMost($"{program.Name}, processor ({Ms(program.Processor)}) / dotnet hello.dll",
                program.Processor / dotnet.Processor, program.BoundByDotnet);
        }
        (StartedProgram version, StartedProgram open, StartedProgram locked) = (programs[1], programs[2], programs[4]);
        _table.AtMost("what the sandbox adds to a start / vmm --version, wall", (locked.Wall - open.Wall) / version.Wall, 1.3);
        if (programs.Find(program => program.Name.StartsWith("qemu", StringComparison.Ordinal)) is not { } daemon) return;
        _table.AtMost("vmm serve / qemu-storage-daemon, wall", programs[2].Wall / daemon.Wall, 1.0);
        _table.AtMost("vmm serve / qemu-storage-daemon, processor", programs[2].Processor / daemon.Processor, 1.0);
    }

    private void MeasureServer()
    {
        (MeasuredProcess one, _) = Serve(1);
        long oneKiB;
        int oneDescriptors;
        using (one)
        {
            Thread.Sleep(Settling);
            (oneKiB, oneDescriptors) = (one.PrivateDirtyKiB, one.Descriptors);
            KiB("serve, 1 disk, idle: private memory", oneKiB, 3 << 10);
            _table.Say("serve, 1 disk, idle: threads", $"{one.Threads}");
        }
        List<double> listening = [], listeningDaemon = [];
        for (int round = 0; round < (isQuick ? 1 : 5); round++)
        {
            (MeasuredProcess many, TimeSpan time) = Serve(Disks + 1);
            using (many)
            {
                listening.Add(time.TotalMilliseconds);
                if (round == 0)
                {
                    Thread.Sleep(Settling);
                    KiB("each further disk: private memory", (double)(many.PrivateDirtyKiB - oneKiB) / Disks, 16);
                    _table.AtMost("each further disk: descriptors", (double)(many.Descriptors - oneDescriptors) / Disks, 2);
                    TimeSpan look = TimeSpan.FromSeconds(isQuick ? 3 : 10);
                    long before = many.Sleeps;
                    Thread.Sleep(look);
                    _table.AtMost($"{Disks:N0} disks, idle: wake-ups in {look.TotalSeconds} s", many.Sleeps - before, 0);
                }
            }
            if (File.Exists(StorageDaemon)) listeningDaemon.Add(ListenByDaemon().TotalMilliseconds);
        }
        _table.Say($"{Disks:N0} disks: listening after", $"{Median(listening):N0} ms");
        if (listeningDaemon.Count == 0) return;
        double daemon = Median(listeningDaemon);
        _table.AtMost($"{Disks:N0} disks: listening / qemu-storage-daemon ({daemon:N0} ms)", Median(listening) / daemon, 0.5);
    }

    private void MeasureFrontEnds()
    {
        (MeasuredProcess server, _) = Serve(FrontEnds);
        using (server)
        {
            Thread.Sleep(Settling);
            (long before, int descriptors) = (server.PrivateDirtyKiB, server.Descriptors);
            List<NeighbourLoad> guests = [];
            try
            {
                for (int i = 0; i < FrontEnds; i++)
                {
                    NeighbourLoad guest = new(SocketOf(Name(i)), ImageBytes, RingSize);
                    guests.Add(guest);
                    guest.Run(TimeSpan.FromMilliseconds(5), new Vmm.Devices.LatencyHistogram());
                }
                Thread.Sleep(Settling);
                KiB("each connected front-end that has read: private memory", (double)(server.PrivateDirtyKiB - before) / FrontEnds, 64);
                _table.Say("each connected front-end: descriptors", BoundTable.Two((double)(server.Descriptors - descriptors) / FrontEnds));
            }
            finally
            {
                guests.ForEach(guest => guest.Dispose());
            }
        }
    }

    /// <summary>The machine's own memory: the guest's is shared, and does not count.</summary>
    private void MeasureBoot()
    {
        // Without KVM a machine of the simulation with the same devices: what the vCPU and the board are is another class, the rest is
        // the same.
        string image = Image("boot"), kernel = PathOf("kernel");
        TinyKernel.Write(kernel, TinyKernel.PrintAndHalt);
        string[] machine = File.Exists("/dev/kvm") ? ["boot", PublishedTool.NoSandbox, "--kernel", kernel] : ["run"];
        using MeasuredProcess booted = new([PublishedTool.Path, .. machine, "--disk", image]);
        booted.ReadByte();
        Thread.Sleep(Settling);
        string which = machine[0] == "run" ? "run (no /dev/kvm here: not boot)" : "boot";
        KiB($"{which}, 1 disk, beside the guest's memory", booted.PrivateDirtyKiB, 6 << 10);
    }

    /// <summary>A server that listens for so many disks, and how long that took.</summary>
    private (MeasuredProcess Server, TimeSpan Time) Serve(int disks)
    {
        string[] options = [.. Enumerable.Range(0, disks).SelectMany(i =>
            (string[])["--blk", $"path={Image(Name(i))},socket={SocketOf(Name(i))}"])];
        RemoveSockets();
        long start = Stopwatch.GetTimestamp();
        MeasuredProcess server = new([PublishedTool.Path, "serve", PublishedTool.NoSandbox, .. options]);
        StartedProgram.WaitForSocket(server, SocketOf(Name(disks - 1)), BetweenLooks);
        TimeSpan time = Stopwatch.GetElapsedTime(start);
        server.ReadLines(disks);
        return (server, time);
    }

    private TimeSpan ListenByDaemon()
    {
        string[] options = [.. Enumerable.Range(0, Disks + 1).SelectMany(i => Export(i, Image(Name(i)), SocketOf(Name(i))))];
        RemoveSockets();
        long start = Stopwatch.GetTimestamp();
        using MeasuredProcess daemon = new([StorageDaemon, .. options]);
        StartedProgram.WaitForSocket(daemon, SocketOf(Name(Disks)), BetweenLooks);
        return Stopwatch.GetElapsedTime(start);
    }

    /// <summary>Those that the process before left behind.</summary>
    private void RemoveSockets()
    {
        foreach (FileInfo socket in _sockets.GetFiles()) socket.Delete();
    }

    private static string[] Export(int index, string image, string socket) =>
    [
        "--blockdev", $"driver=file,node-name=disk{index},filename={image}",
        "--export", $"type=vhost-user-blk,id=export{index},node-name=disk{index},writable=on,addr.type=unix,addr.path={socket}",
    ];

    private static string Name(int index) => index.ToString(CultureInfo.InvariantCulture);

    private string SocketOf(string name) => Path.Combine(_sockets.FullName, name);

    private string PathOf(string name) => Path.Combine(_directory.FullName, name);

    private string Image(string name)
    {
        string path = PathOf($"{name}.img");
        if (File.Exists(path)) return path;
        using FileStream image = new(path, FileMode.CreateNew);
        image.SetLength(ImageBytes);
        return path;
    }

    private static double Median(IEnumerable<double> values) => values.Order().ElementAt(values.Count() / 2);

    private static string Ms(double milliseconds) => $"{BoundTable.Two(milliseconds)} ms";

    private void KiB(string what, double kib, double bound) => _table.AtMost(
        what, kib, bound, size => size >= 1024 ? $"{BoundTable.Two(size / 1024)} MiB" : $"{BoundTable.Two(size)} KiB");
}
