using System.Diagnostics;
using System.Globalization;

namespace Vmm.Benchmarks;

/// <summary>
/// <c>vmm serve</c> with two disks and a console on one reactor, as a process of its own with few descriptors: one disk for a neighbour,
/// and for an attacker the other, which lies on tmpfs, or the console.
/// </summary>
internal sealed class ServedDisks : IDisposable
{
    internal const long DiskBytes = 16 << 20;
    private const int DescriptorsMax = 320;
    private static readonly string[] Images = ["bad.img", "good.img"];

    private const int Devices = 3;

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("vmm-neighbours-");
    private readonly string _tmpfs = Path.Combine("/dev/shm", $"vmm-neighbours-{Guid.NewGuid():N}");
    private readonly Process _process;

    internal ServedDisks(bool allowUnsealed)
    {
        _process = Process.Start(new ProcessStartInfo("prlimit",
        [
            $"--nofile={DescriptorsMax}:{DescriptorsMax}", .. VmmTool.Command, "serve", .. allowUnsealed
                ? ["--allow-unsealed"] : Array.Empty<string>(),
            "--blk", $"path={Image(Images[0])},socket={Attacked},queues=64", "--blk", $"path={Image(Images[1])},socket={Neighbour}",
            "--console", $"socket={AttackedConsole},file=/dev/null",
        ])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            // The collector lets garbage grow to the size of the processor's cache before it looks: what counts here is what is held.
            Environment = { ["DOTNET_GCgen0size"] = "100000" },
        })!;
        _process.ErrorDataReceived += (_, line) => Complaints += line.Data is null ? "" : line.Data + "\n";
        _process.BeginErrorReadLine();
        for (int i = 0; i < Devices; i++)
        {
            if (_process.StandardOutput.ReadLine() is null) throw new IOException($"vmm serve ended: {Complaints}");
        }
    }

    internal string Attacked => Path.Combine(_directory.FullName, "bad");

    internal string AttackedConsole => Path.Combine(_directory.FullName, "console");

    internal string Neighbour => Path.Combine(_directory.FullName, "good");

    /// <summary>What it said on standard error.</summary>
    internal string Complaints { get; private set; } = "";

    internal bool HasEnded => _process.HasExited;

    /// <summary>Its own memory (proc(5), RssAnon and RssFile): what front-ends share does not count.</summary>
    internal long MemoryKiB => Status("RssAnon:") + Status("RssFile:");

    internal int Descriptors => Directory.GetFileSystemEntries($"/proc/{_process.Id}/fd").Length;

    /// <summary>Mappings of memory that front-ends shared.</summary>
    internal int Mappings =>
        File.ReadLines($"/proc/{_process.Id}/maps").Count(line => line.Contains("guest-memory", StringComparison.Ordinal));

    /// <summary>Makes the image of a disk longer or shorter: at least <see cref="DiskBytes"/>, which its front-end reads.</summary>
    internal void Resize(int disk, long bytes)
    {
        using FileStream image = new(PathOf(Images[disk]), FileMode.Open, FileAccess.Write,
            FileShare.ReadWrite);
        image.SetLength(bytes);
    }

    public void Dispose()
    {
        if (!_process.HasExited) _process.Kill();
        _process.WaitForExit();
        _process.Dispose();
        _directory.Delete(recursive: true);
        Directory.Delete(_tmpfs, recursive: true);
    }

    private long Status(string key) => long.Parse(
        File.ReadLines($"/proc/{_process.Id}/status").First(line => line.StartsWith(key, StringComparison.Ordinal))
            .Split(' ', StringSplitOptions.RemoveEmptyEntries)[1],
        CultureInfo.InvariantCulture);

    private string Image(string name)
    {
        string path = PathOf(name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        using FileStream file = File.Create(path);
        file.SetLength(DiskBytes);
        return path;
    }

    private string PathOf(string image) => Path.Combine(image == Images[0] ? _tmpfs : _directory.FullName, image);
}
