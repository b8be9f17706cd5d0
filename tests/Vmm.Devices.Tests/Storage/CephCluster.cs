using System.Diagnostics;

namespace Vmm.Devices.Tests;

/// <summary>
/// A Ceph cluster on loopback: a monitor and some OSDs whose objects are in memory, two copies of each where there are two or more. Most
/// tests of a process share one, which ends with the process.
/// </summary>
internal sealed class CephCluster : IDisposable
{
    private static readonly string Script = Vmm.Tests.House.RepositoryTree.PathOf("tools", "ceph.sh");
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(3);
    private static readonly Lazy<CephCluster> One = new(() => new CephCluster(osds: 1));

    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-ceph-").FullName;

    private bool _isStopped;

    /// <param name="osds">How many.</param>
    /// <param name="network">Where it runs; null: here.</param>
    internal CephCluster(int osds, FarNetwork? network = null)
    {
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Dispose();
        // A port that no other cluster of this machine has.
        string[] command =
        [
            .. network?.Wrapper ?? [], "env", $"VMM_CEPH_PORT={Random.Shared.Next(20_000, 30_000)}",
            $"VMM_CEPH_ADDRESS={network?.Address ?? System.Net.IPAddress.Loopback}", Script, "start", _folder, $"{osds}",
        ];
        Run(command[0], command[1..]);
    }

    /// <summary>The cluster that tests share.</summary>
    internal static CephCluster Shared => One.Value;

    internal string Configuration => Path.Combine(_folder, "ceph.conf");

    internal string Uri(string image, string? more = null) => $"rbd:rbd/{image}?conf={Configuration}{more}";

    /// <summary>Makes an image.</summary>
    internal string Create(int bytes, string? name = null, params string[] more)
    {
        name ??= $"image-{Guid.NewGuid():n}";
        Rbd(["create", "--size", $"{bytes}B", name, .. more]);
        return name;
    }

    internal string Rbd(params string[] arguments) => Run("rbd", ["-c", Configuration, .. arguments]);

    internal string Rados(params string[] arguments) => Run("rados", ["-c", Configuration, "-p", "rbd", .. arguments]);

    internal string Ceph(params string[] arguments) => Run("ceph", ["-c", Configuration, .. arguments]);

    /// <summary>A copy of its configuration in which something is different.</summary>
    /// <param name="from">A line, or the start of one.</param>
    /// <param name="to">What stands there instead.</param>
    internal string ConfigurationWith(string from, string to)
    {
        string path = Path.Combine(_folder, $"{Guid.NewGuid():n}.conf");
        IEnumerable<string> lines = File.ReadLines(Configuration).Select(line =>
            line.StartsWith(from, StringComparison.Ordinal) ? to : line);
        File.WriteAllLines(path, lines);
        return path;
    }

    internal string PathOf(string name) => Path.Combine(_folder, name);

    /// <summary>Starts an OSD (<c>osd</c>, its number) or the monitor (<c>mon</c>) again.</summary>
    internal void Restart(params string[] daemon) => Run(Script, [daemon[0], _folder, .. daemon[1..]]);

    /// <summary>Has an OSD, or the monitor, stand still (<c>STOP</c>), go on (<c>CONT</c>) or die (<c>KILL</c>).</summary>
    internal void Signal(string daemon, string signal) =>
        Run("kill", $"-{signal}", File.ReadAllText(Path.Combine(_folder, "run", $"{daemon}.pid")).Trim());

    public void Dispose()
    {
        if (_isStopped) return;
        _isStopped = true;
        Run(Script, "stop", _folder);
        Directory.Delete(_folder, recursive: true);
    }

    internal static string Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true
        })!;
        Task<string> errors = process.StandardError.ReadToEndAsync(), output = process.StandardOutput.ReadToEndAsync();
        bool hasEnded = process.WaitForExit(Patience);
        if (!hasEnded) process.Kill(entireProcessTree: true);
        return hasEnded && process.ExitCode == 0 ? output.Result
            : throw new InvalidOperationException(
                $"{program} {string.Join(' ', arguments)}: {(hasEnded ? "" : $"no end within {Patience}: ")}{errors.Result}{output.Result}");
    }
}
