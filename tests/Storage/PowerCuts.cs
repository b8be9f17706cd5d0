using System.Globalization;
using System.Security.Cryptography;

namespace Vmm.Tests;

/// <summary>
/// Cuts the power under <see cref="PowerCutWork"/> at random points, mounts what could be left, and looks whether the file system is whole and all
/// that was acknowledged is there. VMM_SEED chooses the same points again.
/// </summary>
/// <param name="log">Of the disk, complete.</param>
/// <param name="ready">Length of the log when the work began.</param>
internal sealed class PowerCuts(DiskLog log, int ready) : IDisposable
{
    /// <summary>
    /// Mounts $1 at $2, prints what the database answers and the checksum of each file, unmounts, and checks the file system. In a mount namespace of
    /// its own: a namespace that another process makes meanwhile has a copy of every mount, and a file system that is mounted there still writes to its
    /// image after it was unmounted here.
    /// </summary>
    private const string Look = $$"""
        mount "$1" "$2" || exit
        cd "$2"
        sqlite3 {{PowerCutWork.DatabaseName}} 'PRAGMA integrity_check; SELECT count(*) FROM rows; SELECT ifnull(max(id), 0) FROM rows;'
        sha256sum file* 2>/dev/null
        cd / && umount "$2" || exit
        findings=$(e2fsck -fn "$1" 2>&1) || { echo "$findings"; exit 1; }
        """;

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-power-").FullName;
    private readonly int _seed = int.TryParse(Environment.GetEnvironmentVariable("VMM_SEED"), out int given) ? given : Environment.TickCount;

    /// <summary>Checks this many states; the first is the one after all of the log.</summary>
    internal void Check(int states)
    {
        Random random = new(_seed);
        for (int i = 0; i < states; i++)
        {
            int cut = i == 0 ? log.Length : random.Next(ready, log.Length + 1);
            CrashState state = log.StateAt(PowerCutWork.DiskBytes, cut, random);
            if (Failure(state) is { } failure) Assert.Fail(Keep(state, $"state {i} of {states}, cut after {cut} of {log.Length}: {failure}"));
        }
        TestContext.Current.TestOutputHelper?.WriteLine($"{states} states of a log of {log.Length} entries and {log.Syncs} syncs are whole");
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    /// <summary>Keeps a state that is broken for a look, and says whether it is broken each time.</summary>
    private string Keep(CrashState state, string failure)
    {
        string image = Path.Combine(Path.GetTempPath(), $"vmm-power-cut-{_seed}.img");
        File.WriteAllBytes(image, state.Disk);
        string again = Failure(state) is { } second ? $"The same state again: {second}" : "The same state again is whole: what checks it is at fault, not the disk.";
        return string.Create(CultureInfo.InvariantCulture, $"VMM_SEED={_seed}, {failure}\n{again}\nThe state is kept as {image}");
    }

    /// <returns>What is wrong; null if nothing is.</returns>
    private string? Failure(CrashState state)
    {
        // A file of its own for each state, for the same reason.
        string image = Path.Combine(_directory, Guid.NewGuid().ToString("N")), mountPoint = Path.Combine(_directory, "mounted");
        Directory.CreateDirectory(mountPoint);
        File.WriteAllBytes(image, state.Disk);
        using LoopDevice loop = new(image);
        File.Delete(image);
        (int code, string output) = HostCommand.Run("unshare", "--mount", "--propagation", "private", "sh", "-c", Look, "sh", loop.Path, mountPoint);
        string[] lines = output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        return Failure(state, code, lines) is { } failure ? $"{failure}\n{output}" : null;
    }

    private static string? Failure(CrashState state, int code, string[] lines)
    {
        if (lines.Length < 3 || lines[0] != "ok" || lines[1] != lines[2]) return "the file system or the database is broken";
        int rows = int.Parse(lines[1], CultureInfo.InvariantCulture);
        if (rows < state.Acknowledged) return $"{rows} rows are left, {state.Acknowledged} were acknowledged";
        Dictionary<string, string> files = lines[3..].Where(line => line.Contains("  file", StringComparison.Ordinal)).ToDictionary(line => line[66..], line => line[..64]);
        for (int row = 1; row <= state.Acknowledged; row++)
        {
            if (!files.TryGetValue(PowerCutWork.FileName(row), out string? sum))
            {
                if (!PowerCutWork.MayBeDeleted(row)) return $"file {row} is gone, {state.Acknowledged} were acknowledged";
            }
            else if (sum != Convert.ToHexStringLower(SHA256.HashData(PowerCutWork.Content(row))))
            {
                return $"file {row} has another content";
            }
        }
        return code == 0 && lines.Length == files.Count + 3 ? null : "the file system is broken";
    }
}
