using System.Diagnostics;

namespace Vmm.Devices.Tests;

/// <summary>
/// A Ceph cluster on loopback: a monitor and some OSDs whose objects are in memory. The tests of one process share it; it ends with the
/// process.
/// </summary>
internal sealed class CephCluster
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(3);
    private static readonly Lazy<CephCluster> One = new(() => new CephCluster(osds: 1));

    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-ceph-").FullName;

    private CephCluster(int osds)
    {
        string script = Vmm.Tests.House.RepositoryTree.PathOf("tools", "ceph.sh");
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Stop();
        // A port that no other cluster of this machine has.
        string port = $"VMM_CEPH_PORT={Random.Shared.Next(20_000, 30_000)}";
        Run("env", port, script, "start", _folder, osds.ToString(System.Globalization.CultureInfo.InvariantCulture));
    }

    /// <summary>The cluster that tests share.</summary>
    internal static CephCluster Shared => One.Value;

    internal string Configuration => Path.Combine(_folder, "ceph.conf");

    internal string Uri(string image, string? more = null) => $"rbd:rbd/{image}?conf={Configuration}{more}";

    /// <summary>Makes an image.</summary>
    internal string Create(int bytes, string? name = null)
    {
        name ??= $"image-{Guid.NewGuid():n}";
        Rbd("create", "--size", $"{bytes}B", name);
        return name;
    }

    internal string Rbd(params string[] arguments) => Run("rbd", ["-c", Configuration, .. arguments]);

    internal string Ceph(params string[] arguments) => Run("ceph", ["-c", Configuration, .. arguments]);

    /// <summary>Has an OSD, or the monitor, stand still (<c>STOP</c>), go on (<c>CONT</c>) or die (<c>KILL</c>).</summary>
    internal void Signal(string daemon, string signal) =>
        Run("kill", $"-{signal}", File.ReadAllText(Path.Combine(_folder, "run", $"{daemon}.pid")).Trim());

    private void Stop()
    {
        Run(Vmm.Tests.House.RepositoryTree.PathOf("tools", "ceph.sh"), "stop", _folder);
        Directory.Delete(_folder, recursive: true);
    }

    private static string Run(string program, params string[] arguments)
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
