using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Vmm.Tests;

namespace Vmm.EndToEnd;

/// <summary>Many processes on many hosts: what finds them for Prometheus, and ssh to the socket of another host.</summary>
public sealed class FleetTests : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly ScratchDirectory _scratch = new();
    private readonly List<Process> _programs = [];

    public void Dispose()
    {
        foreach (Process program in _programs)
        {
            program.Kill();
            program.WaitForExit();
            program.Dispose();
        }
        _scratch.Dispose();
    }

    [Fact]
    public async Task Prometheus_finds_and_scrapes_what_discover_lists()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/prometheus"), "prometheus is not installed: tools/test.sh installs it");
        new TlsAuthority(_scratch.PathOf("ca")).AddClient();
        string list = _scratch.PathOf("vmm.json");
        using VmmProcess first = ServeTls("a"), local = new("serve", "--rng", $"socket={_scratch.PathOf("l")}", "--api", _scratch.PathOf("local-api.sock"));
        local.WaitFor("listening api");
        VmmResult once = VmmProcess.Run("discover", _scratch.Path, "--host", "localhost");
        Assert.Contains("'local' is left out: Prometheus cannot reach a Unix socket", once.Error);
        JsonElement target = Assert.Single(JsonDocument.Parse(once.Output).RootElement.EnumerateArray());
        JsonElement labels = target.GetProperty("labels");
        Assert.Equal(("https", "a", "serve"),
            (labels.GetProperty("__scheme__").GetString(), labels.GetProperty("vmm").GetString(), labels.GetProperty("kind").GetString()));
        Assert.StartsWith("localhost:", target.GetProperty("targets")[0].GetString());

        using VmmProcess discovering = new("discover", _scratch.Path, "--host", "localhost", "--output", list, "--every", "1");
        Assert.True(SpinWait.SpinUntil(() => File.Exists(list), Patience));
        int port = FreePort();
        File.WriteAllText(_scratch.PathOf("prometheus.yml"), $$"""
            global: { scrape_interval: 1s }
            scrape_configs:
              - job_name: vmm
                file_sd_configs: [{ files: ['{{list}}'] }]
                tls_config:
                  ca_file: {{_scratch.PathOf("ca/ca-cert.pem")}}
                  cert_file: {{_scratch.PathOf("ca/client-cert.pem")}}
                  key_file: {{_scratch.PathOf("ca/client-key.pem")}}
            """);
        Start("prometheus", $"--config.file={_scratch.PathOf("prometheus.yml")}", $"--storage.tsdb.path={_scratch.PathOf("data")}",
            $"--web.listen-address=127.0.0.1:{port}", "--log.level=error");
        using HttpClient http = new() { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
        await WaitFor(http, "a");
        // One that comes later is found by itself.
        using VmmProcess second = ServeTls("b");
        await WaitFor(http, "a", "b");
        second.Signal("TERM");
        Assert.Equal(0, second.WaitForExit().ExitCode);
        Assert.True(SpinWait.SpinUntil(() => JsonDocument.Parse(File.ReadAllText(list)).RootElement.GetArrayLength() == 1, Patience));
        discovering.Signal("TERM");
        Assert.Equal(0, discovering.WaitForExit().ExitCode);
    }

    [Fact]
    public void Discover_refuses_what_makes_no_sense_and_says_who_does_not_answer()
    {
        Assert.Equal("[]", VmmProcess.Run("discover", _scratch.Path).Output.Trim());
        VmmResult unwritten = VmmProcess.Run("discover", _scratch.Path, "--every", "5");
        Assert.Equal(2, unwritten.ExitCode);
        Assert.Contains("--every without --output", unwritten.Error);
        Assert.Equal(1, VmmProcess.Run("discover", _scratch.PathOf("none")).ExitCode);
        File.WriteAllText(_scratch.PathOf("x-api.sock"), "");
        VmmResult silent = VmmProcess.Run("discover", _scratch.Path);
        Assert.Equal((1, "[]"), (silent.ExitCode, silent.Output.Trim()));
        Assert.Contains("cannot reach the API", silent.Error);
    }

    [Fact]
    public void The_socket_of_another_host_is_reached_through_ssh_which_ends_with_the_command()
    {
        Assert.SkipUnless(File.Exists("/usr/sbin/sshd") && File.Exists("/usr/bin/ssh"), "ssh is not installed: tools/test.sh installs it");
        int port = FreePort();
        string host = $"ssh://{Environment.UserName}@127.0.0.1:{port}", api = _scratch.PathOf("api.sock");
        string[] path = ["env", $"PATH={MakeSsh(port)}:{Environment.GetEnvironmentVariable("PATH")}"];
        using VmmProcess vmm = new("serve", "--rng", $"socket={_scratch.PathOf("s")}", "--api", api);
        vmm.WaitFor("listening api");

        VmmResult Ctl(params string[] words)
        {
            using VmmProcess ctl = new(path, ["ctl", "--host", host, .. words]);
            return ctl.WaitForExit();
        }

        VmmResult listed = Ctl(api, "ls");
        Assert.True(listed.ExitCode == 0, listed.Error);
        Assert.Contains("rng0", listed.Output);
        Assert.Equal(0, Ctl(api, "set", "rng0", "operationsPerSecond=5").ExitCode);
        Assert.Contains("operationsPerSecond 5", Ctl(api, "get", "rng0").Lines);
        using (VmmProcess top = new(path, ["top", api, "--host", host])) Assert.Contains("rng0", top.WaitForExit().Output);

        VmmResult nothing = Ctl(_scratch.PathOf("none"), "ls");
        Assert.Equal(1, nothing.ExitCode);
        Assert.Contains("does a vmm run with --api", nothing.Error);
        using (VmmProcess nobody = new(path, ["ctl", "--host", "ssh://127.0.0.1:9", api, "ls"]))
        {
            VmmResult refused = nobody.WaitForExit();
            Assert.Equal(1, refused.ExitCode);
            Assert.Contains("cannot reach 'ssh://127.0.0.1:9'", refused.Error);
        }
        foreach (string wrong in (string[])["127.0.0.1", "ssh://", "ssh://a:secret@b", "ssh://h/run/x", "http://h"])
            Assert.Equal(2, VmmProcess.Run("ctl", "--host", wrong, api, "ls").ExitCode);
        Assert.Contains("from '/' on", VmmProcess.Run("ctl", "--host", host, "api.sock", "ls").Error);

        // Also if it can do nothing for that.
        using VmmProcess watching = new(path, ["ctl", "--host", host, api, "watch"]);
        Assert.True(SpinWait.SpinUntil(() => IsTunnel(host), Patience));
        watching.Signal("KILL");
        watching.WaitForExit();
        Assert.True(SpinWait.SpinUntil(() => !IsTunnel(host), Patience), "ssh is left behind");
    }

    private static bool IsTunnel(string host) => SnapshotFiles.ExitCodeOf("pgrep", "-f", $"ssh .*{host}") == 0;

    /// <summary>A server for this user with keys of its own, and an ssh that knows them.</summary>
    /// <returns>The directory of that ssh.</returns>
    private string MakeSsh(int port)
    {
        foreach (string name in (string[])["host", "user"]) SnapshotFiles.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", _scratch.PathOf(name));
        File.Copy(_scratch.PathOf("user.pub"), _scratch.PathOf("authorized"));
        File.WriteAllText(_scratch.PathOf("sshd_config"), $"""
            Port {port}
            ListenAddress 127.0.0.1
            HostKey {_scratch.PathOf("host")}
            AuthorizedKeysFile {_scratch.PathOf("authorized")}
            PidFile none
            StrictModes no
            UsePAM no
            PasswordAuthentication no
            PermitRootLogin yes
            """);
        File.WriteAllText(_scratch.PathOf("ssh_config"), $"""
            IdentityFile {_scratch.PathOf("user")}
            IdentitiesOnly yes
            BatchMode yes
            UserKnownHostsFile {_scratch.PathOf("known")}
            StrictHostKeyChecking accept-new
            """);
        if (Environment.IsPrivilegedProcess) Directory.CreateDirectory("/run/sshd");
        Start("/usr/sbin/sshd", "-D", "-e", "-f", _scratch.PathOf("sshd_config"));
        Assert.True(SpinWait.SpinUntil(() => IsOpen(port), Patience), "sshd does not listen");
        string programs = Directory.CreateDirectory(_scratch.PathOf("bin")).FullName, ssh = Path.Combine(programs, "ssh");
        File.WriteAllText(ssh, $"#!/bin/sh\nexec /usr/bin/ssh -F {_scratch.PathOf("ssh_config")} \"$@\"\n");
        File.SetUnixFileMode(ssh, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        return programs;
    }

    private static bool IsOpen(int port)
    {
        try
        {
            using TcpClient client = new();
            client.Connect(IPAddress.Loopback, port);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    private void Start(string program, params string[] words) =>
        _programs.Add(Process.Start(new ProcessStartInfo(program, words) { RedirectStandardError = true })!);

    private VmmProcess ServeTls(string name)
    {
        VmmProcess vmm = new("serve", "--rng", $"socket={_scratch.PathOf($"{name}.rng")}", "--api", _scratch.PathOf($"{name}-api.sock"), "--api-tls", "127.0.0.1:0",
            "--api-cert", _scratch.PathOf("ca/server-cert.pem"), "--api-key", _scratch.PathOf("ca/server-key.pem"), "--api-clients", _scratch.PathOf("ca/ca-cert.pem"));
        vmm.WaitFor("listening api https://");
        return vmm;
    }

    private static async Task WaitFor(HttpClient http, params string[] names)
    {
        long start = Stopwatch.GetTimestamp();
        while (true)
        {
            string answer = "";
            try
            {
                answer = await http.GetStringAsync("/api/v1/query?query=up%7Bjob%3D%22vmm%22%7D", TestContext.Current.CancellationToken);
                JsonElement result = JsonDocument.Parse(answer).RootElement.GetProperty("data").GetProperty("result");
                HashSet<string> up = [.. result.EnumerateArray().Where(each => each.GetProperty("value")[1].GetString() == "1")
                    .Select(each => each.GetProperty("metric").GetProperty("vmm").GetString()!)];
                if (names.All(up.Contains)) return;
            }
            catch (HttpRequestException)
            {
                // It does not listen yet.
            }
            Assert.True(Stopwatch.GetElapsedTime(start) < Patience, $"Prometheus does not scrape {string.Join(" and ", names)}: {answer}");
            await Task.Delay(100, TestContext.Current.CancellationToken);
        }
    }

    private static int FreePort()
    {
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
