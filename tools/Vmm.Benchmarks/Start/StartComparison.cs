namespace Vmm.Benchmarks;

/// <summary>How long the tool takes to start, beside the start of .NET and another server of disks.</summary>
internal static class StartComparison
{
    internal static Comparison Comparison { get; } = new("start", "start",
        "from the start of a process to its end, or until a front-end can connect; the baseline is a .NET program that prints a line (n "
        + "= 1)",
        [1],
        [
            Dotnet,
            new("vmm-version", _ => new ProcessContender(_ => [PublishedTool.Path, "--version"], ProcessMark.End)),
            new("vmm-run", _ => new ProcessContender(_ => [PublishedTool.Path, "run", "--exec", "lsdev; poweroff"], ProcessMark.End)),
            new("vmm-serve", _ => new ProcessContender(
                directory =>
                    [PublishedTool.Path, "serve", PublishedTool.NoSandbox,
                        "--blk", $"path={WriteImage(directory)},socket={SocketIn(directory)}"],
                ProcessMark.Socket)),
            // Its start less that of the row above is what the sandbox costs: at most 1.3 times 'vmm-version'.
            new("vmm-serve-sandbox", _ => new ProcessContender(
                directory =>
                    [PublishedTool.Path, "serve", "--sandbox=require",
                        "--blk", $"path={WriteImage(directory)},socket={SocketIn(directory)}"],
                ProcessMark.Socket)),
            // The other one is left out where it is not installed.
            .. File.Exists(StorageDaemon)
                ? [new Variant("storage-daemon", _ => new ProcessContender(ServeByQemu, ProcessMark.Socket))] : (Variant[])[],
        ])
    {
        // Processes take milliseconds: a round is one of each.
        SliceFactor = 8,
    };

    private const string StorageDaemon = "/usr/bin/qemu-storage-daemon";
    private const long ImageBytes = 16 << 20;

    /// <summary>The whole run of the least .NET program.</summary>
    internal static Variant Dotnet =>
        new("dotnet-hello", _ => new ProcessContender(directory => ["dotnet", HelloProgram.Write(directory)], ProcessMark.End));

    private static string[] ServeByQemu(string directory) =>
    [
        StorageDaemon, "--blockdev", $"driver=file,node-name=disk,filename={WriteImage(directory)}",
        "--export", $"type=vhost-user-blk,id=export,node-name=disk,writable=on,addr.type=unix,addr.path={SocketIn(directory)}",
    ];

    private static string SocketIn(string directory) => Path.Combine(directory, ProcessContender.SocketName);

    private static string WriteImage(string directory)
    {
        string path = Path.Combine(directory, "disk.img");
        using FileStream image = new(path, FileMode.Create);
        image.SetLength(ImageBytes);
        return path;
    }
}

/// <summary>How long it takes from <c>vmm boot</c> to a guest's first instructions, beside the start of .NET.</summary>
internal static class BootStartComparison
{
    internal static Comparison Comparison { get; } = new("start", "start-boot",
        "from the start of 'vmm boot' until the guest's third instruction has printed a byte; "
        + "the baseline is a .NET program that prints a line (n = 1)",
        [1],
        [
            StartComparison.Dotnet,
            new("vmm-boot",
                _ => new ProcessContender(
                    directory => [PublishedTool.Path, "boot", PublishedTool.NoSandbox, "--kernel", WriteKernel(directory)],
                    ProcessMark.Output)),
        ])
    { SliceFactor = 8 };

    private static string WriteKernel(string directory)
    {
        string path = Path.Combine(directory, "kernel");
        TinyKernel.Write(path, TinyKernel.PrintAndHalt);
        return path;
    }
}

/// <summary>The tool as <c>tools/publish.sh</c> makes it.</summary>
internal static class PublishedTool
{
    /// <summary>For what is compared with tools that have no sandbox; its cost is a row of its own.</summary>
    internal const string NoSandbox = "--sandbox=off";

    /// <exception cref="FileNotFoundException">It was not published.</exception>
    internal static string Path
    {
        get
        {
            string path = System.IO.Path.GetFullPath(System.IO.Path.Combine(AppContext.BaseDirectory, "..", "..", "..", "vmm", "vmm"));
            return File.Exists(path) ? path : throw new FileNotFoundException($"there is no '{path}': run ./tools/publish.sh first");
        }
    }
}
