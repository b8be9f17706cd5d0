using System.Diagnostics;

namespace Vmm.Tool;

/// <summary>
/// A Unix socket of another host, as one of this host: <c>ssh -L</c>, with the keys, the configuration and the questions of the operator's
/// own ssh. It ends with this process, however that ends.
/// </summary>
internal sealed class SshTunnel : IDisposable
{
    private const string Scheme = "ssh://";
    private const int BetweenLooksMs = 20;

    /// <summary>
    /// ssh ends when the standard input of the shell does, whose other end only this process has: also when this process is killed.
    /// </summary>
    private const string EndsWithInput = """
        exec 3<&0
        ssh "$@" 3<&- </dev/null & ssh=$!
        { cat >/dev/null; kill $ssh; } <&3 2>/dev/null & exec 3<&-
        wait $ssh
        """;

    private readonly string _directory;
    private readonly Process _process;

    private SshTunnel(string directory, Process process)
    {
        _directory = directory;
        _process = process;
    }

    /// <summary>The socket here.</summary>
    internal string Socket => SocketIn(_directory);

    /// <summary>An address as ssh takes it; null if it is none.</summary>
    internal static string? AddressOf(string text)
    {
        if (!text.StartsWith(Scheme, StringComparison.Ordinal) || !Uri.TryCreate(text, UriKind.Absolute, out Uri? address)) return null;
        bool isPlain = address.Host.Length > 0 && address.AbsolutePath is "" or "/"
            && address.Query.Length == 0 && address.Fragment.Length == 0;
        return isPlain && !address.UserInfo.Contains(':', StringComparison.Ordinal) ? text.TrimEnd('/') : null;
    }

    /// <summary>Makes one.</summary>
    /// <param name="address">The host, by <see cref="AddressOf"/>.</param>
    /// <param name="remote">The path of the socket there.</param>
    /// <exception cref="IOException">ssh does not get there; the message has what it said.</exception>
    internal static SshTunnel Open(string address, string remote)
    {
        string directory = Directory.CreateTempSubdirectory("vmm-ssh-").FullName;
        string[] words =
        [
            "-N", "-T", "-o", "ExitOnForwardFailure=yes", "-o", "ControlPath=none", "-o", "ConnectTimeout=15",
            "-L", $"{SocketIn(directory)}:{remote}", address,
        ];
        Process process = Process.Start(new ProcessStartInfo("/bin/sh", ["-c", EndsWithInput, "sh", .. words])
        { RedirectStandardInput = true, RedirectStandardError = true })!;
        Task<string> said = process.StandardError.ReadToEndAsync();
        SshTunnel tunnel = new(directory, process);
        // ssh makes its socket once it is let in.
        while (!File.Exists(tunnel.Socket))
        {
            if (!process.WaitForExit(BetweenLooksMs)) continue;
            tunnel.Dispose();
            throw new IOException($"cannot reach '{address}': {LastLine(said.GetAwaiter().GetResult())}; does 'ssh {address}' work?");
        }
        return tunnel;
    }

    public void Dispose()
    {
        _process.StandardInput.Dispose();
        _process.WaitForExit();
        _process.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    private static string SocketIn(string directory) => Path.Combine(directory, "s");

    private static string LastLine(string said) => said.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
        .LastOrDefault() ?? "ssh ended without a word";
}
