using System.Diagnostics;

namespace Vmm.EndToEnd;

/// <summary>File systems and machines for the tests of snapshots.</summary>
internal sealed class SnapshotFiles : IDisposable
{
    internal const long MiB = 1 << 20;
    internal static readonly TimeSpan Watchdog = TimeSpan.FromMinutes(3);
    private readonly List<string> _mounts = [];

    internal ScratchDirectory Scratch { get; } = new();

    internal string Api => PathOf("api.sock");

    internal string PathOf(string name) => Scratch.PathOf(name);

    /// <summary>An XFS on a file, whose files share blocks.</summary>
    internal string MountXfs()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess && File.Exists("/usr/sbin/mkfs.xfs") && File.Exists("/dev/loop-control"),
            "needs root, loop devices, and xfsprogs, which tools/test.sh installs");
        string image = PathOf("xfs.img");
        using (FileStream file = new(image, FileMode.Create)) file.SetLength(512 * MiB);
        Command("mkfs.xfs", "-q", "-m", "reflink=1", image);
        return Mount("xfs", "loop", image);
    }

    internal string MountSmall(string size)
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "a small file system can be mounted by root only");
        return Mount("tmpfs", $"size={size}", "tmpfs");
    }

    private string Mount(string type, string options, string what)
    {
        string path = Directory.CreateDirectory(PathOf(type)).FullName;
        Command("mount", "-t", type, "-o", options, what, path);
        _mounts.Add(path);
        return path;
    }

    internal VmmProcess Start(params string[] command)
    {
        File.Delete(Api);
        return new VmmProcess([.. command, "--api", Api]);
    }

    internal VmmResult Ctl(params string[] words)
    {
        VmmResult result = VmmProcess.Run(["ctl", Api, .. words]);
        Assert.True(result.ExitCode == 0, result.Error);
        return result;
    }

    /// <summary>Waits until a guest has printed a higher number.</summary>
    internal static uint WaitBeyond(Func<IEnumerable<string>> lines, uint number)
    {
        uint last = 0;
        WaitUntil(() => (last = TickingKernel.Numbers(lines()).LastOrDefault()) > number, () => $"no number beyond {number}: {string.Join(' ', lines())}");
        return last;
    }

    internal static void WaitUntil(Func<bool> condition, Func<string> otherwise)
    {
        long start = Stopwatch.GetTimestamp();
        while (!condition())
        {
            if (Stopwatch.GetElapsedTime(start) > Watchdog) Assert.Fail(otherwise());
            Thread.Sleep(5);
        }
    }

    internal static void Command(params string[] words)
    {
        using Process process = Process.Start(new ProcessStartInfo(words[0], words[1..]) { RedirectStandardError = true })!;
        string error = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{string.Join(' ', words)}: {error}");
    }

    internal static int ExitCodeOf(params string[] words)
    {
        using Process process = Process.Start(new ProcessStartInfo(words[0], words[1..]) { RedirectStandardError = true, RedirectStandardOutput = true })!;
        process.WaitForExit();
        return process.ExitCode;
    }

    public void Dispose()
    {
        // Processes that were killed are on their way.
        foreach (string mount in _mounts) WaitUntil(() => ExitCodeOf("umount", mount) == 0, () => $"'{mount}' is in use");
        Scratch.Dispose();
    }
}
