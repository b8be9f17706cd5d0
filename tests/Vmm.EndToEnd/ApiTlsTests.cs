using System.Net;
using System.Net.Http.Headers;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Vmm.Tests;

namespace Vmm.EndToEnd;

/// <summary>The control API over a network: who gets in, by TLS with a certificate or a token, and who does not.</summary>
public sealed class ApiTlsTests : IDisposable
{
    private const string Token = "9c1c5f0e6d7a4b3f8e2d";

    private readonly ScratchDirectory _scratch = new();

    public ApiTlsTests()
    {
        new TlsAuthority(_scratch.PathOf("ca")).AddClient();
        new TlsAuthority(_scratch.PathOf("other")).AddClient();
        File.WriteAllText(_scratch.PathOf("token"), Token + "\n");
        File.SetUnixFileMode(_scratch.PathOf("token"), UnixFileMode.UserRead);
        File.WriteAllText(_scratch.PathOf("wrong"), new string('x', Token.Length));
        File.SetUnixFileMode(_scratch.PathOf("wrong"), UnixFileMode.UserRead);
    }

    private string CertificateOf(string authority, string name) => _scratch.PathOf($"{authority}/{name}-cert.pem");

    private string[] Server => ["--api-cert", CertificateOf("ca", "server"), "--api-key", _scratch.PathOf("ca/server-key.pem")];

    private string[] ByCertificate => ["--api-clients", CertificateOf("ca", "ca")];

    private string[] ByToken => ["--api-token", _scratch.PathOf("token")];

    [Theory]
    [InlineData("auto")]
    [InlineData("require")]
    public async Task A_client_with_a_certificate_gets_in_by_HTTP_1_and_2_and_others_do_not(string sandbox)
    {
        Assert.SkipUnless(sandbox == "auto" || Environment.GetEnvironmentVariable("VMM_TOOL") is not null, "only the published file has a sandbox");
        using VmmProcess vmm = Serve(out int port, ["--sandbox", sandbox, .. Server, .. ByCertificate]);
        foreach (Version version in (Version[])[HttpVersion.Version11, HttpVersion.Version20])
        {
            using HttpClient client = Client(port, Shown("ca"));
            using HttpResponseMessage answer = await Get(client, version);
            Assert.Equal((HttpStatusCode.OK, version), (answer.StatusCode, answer.Version));
            Assert.Contains("\"serve\"", await answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
            foreach (X509Certificate2? shown in (X509Certificate2?[])[null, Shown("other"), Shown("ca", "server")])
            {
                using HttpClient stranger = Client(port, shown);
                await Assert.ThrowsAnyAsync<HttpRequestException>(() => Get(stranger, version));
            }
        }
        string[] place = [$"https://localhost:{port}", "--ca", CertificateOf("ca", "ca")];
        VmmResult listed = VmmProcess.Run(["ctl", .. place, "--cert", CertificateOf("ca", "client"), "--key", _scratch.PathOf("ca/client-key.pem"), "ls"]);
        Assert.True(listed.ExitCode == 0, listed.Error);
        Assert.Contains("rng0", listed.Output);
        VmmResult refused = VmmProcess.Run(["ctl", .. place, "ls"]);
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("cannot reach the API", refused.Error);
        Assert.Equal(1, VmmProcess.Run("ctl", place[0], "--ca", CertificateOf("other", "ca"), "ls").ExitCode);
    }

    [Fact]
    public async Task A_client_with_the_token_gets_in_and_others_are_answered_401()
    {
        using VmmProcess vmm = Serve(out int port, [.. Server, .. ByToken]);
        foreach ((string? sent, HttpStatusCode expected) in ((string?, HttpStatusCode)[])
            [(Token, HttpStatusCode.OK), (null, HttpStatusCode.Unauthorized), (Token + "x", HttpStatusCode.Unauthorized), ("", HttpStatusCode.Unauthorized)])
        {
            using HttpClient client = Client(port);
            if (sent is not null) client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", sent);
            foreach (string path in (string[])["/v1/machine", "/metrics", "/v1/openapi.json", "/"])
            {
                using HttpResponseMessage answer = await client.GetAsync(path, TestContext.Current.CancellationToken);
                if (expected == HttpStatusCode.OK) Assert.NotEqual(HttpStatusCode.Unauthorized, answer.StatusCode);
                else Assert.Equal((expected, "Bearer"), (answer.StatusCode, answer.Headers.WwwAuthenticate.ToString()));
            }
        }
        string[] place = [$"https://localhost:{port}", "--ca", CertificateOf("ca", "ca")];
        Assert.Contains("rng0", VmmProcess.Run(["ctl", .. place, "--token", _scratch.PathOf("token"), "ls"]).Output);
        Assert.Contains("the token is missing or another", VmmProcess.Run(["ctl", .. place, "--token", _scratch.PathOf("wrong"), "ls"]).Error);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Top_the_page_a_snapshot_and_a_fork_are_had_by_a_certificate_and_by_a_token(bool byCertificate)
    {
        Assert.SkipUnless(File.Exists("/dev/kvm"), "needs /dev/kvm");
        TickingKernel.Write(_scratch.PathOf("kernel"));
        // A place that comes over a network is opened by no broker, so not in the whole sandbox.
        using VmmProcess vmm = Start(out int port, ["boot", "--sandbox=auto", "--kernel", _scratch.PathOf("kernel"), "--memory", "64", "--rng"],
            [.. Server, .. byCertificate ? ByCertificate : ByToken]);
        SnapshotFiles.WaitBeyond(() => vmm.Lines, 0);
        string place = $"https://localhost:{port}", saved = _scratch.PathOf("saved"), forks = _scratch.PathOf("forks");
        string[] keys = ["--ca", CertificateOf("ca", "ca"), .. byCertificate
            ? ["--cert", CertificateOf("ca", "client"), "--key", _scratch.PathOf("ca/client-key.pem")] : (string[])["--token", _scratch.PathOf("token")]];

        VmmResult top = VmmProcess.Run(["top", place, .. keys]);
        Assert.True(top.ExitCode == 0, top.Error);
        Assert.Contains("rng0", top.Output);
        Assert.NotEqual(0, VmmProcess.Run("top", place, "--ca", CertificateOf("ca", "ca")).ExitCode);

        using (VmmProcess web = new(["ctl", place, .. keys, "web"]))
        {
            web.WaitFor("/?token=");
            using HttpClient browser = new();
            Assert.Contains("<title>vmm</title>", await browser.GetStringAsync(web.Lines[0], TestContext.Current.CancellationToken));
            Uri page = new(web.Lines[0]);
            foreach ((string origin, HttpStatusCode expected) in ((string, HttpStatusCode)[])
                [($"http://{page.Authority}", HttpStatusCode.OK), ("http://elsewhere.example", HttpStatusCode.Forbidden)])
            {
                using HttpRequestMessage pause = new(HttpMethod.Post, new Uri(page, "/v1/machine/pause"));
                pause.Headers.Add("Origin", origin);
                using HttpResponseMessage answer = await browser.SendAsync(pause, TestContext.Current.CancellationToken);
                Assert.Equal(expected, answer.StatusCode);
            }
            Assert.Equal(0, VmmProcess.Run(["ctl", place, .. keys, "resume"]).ExitCode);
            web.Signal("TERM");
            Assert.Equal(0, web.WaitForExit().ExitCode);
        }

        VmmResult relative = VmmProcess.Run(["ctl", place, .. keys, "snapshot", "saved"]);
        Assert.Equal(2, relative.ExitCode);
        Assert.Contains("begins with '/'", relative.Error);
        VmmResult snapshot = VmmProcess.Run(["ctl", place, .. keys, "snapshot", saved]);
        Assert.True(snapshot.ExitCode == 0, snapshot.Error);
        Assert.True(Directory.Exists(saved));
        VmmResult forked = VmmProcess.Run(["ctl", place, .. keys, "fork", "--dir", forks]);
        Assert.True(forked.ExitCode == 0, forked.Error);
        SnapshotFiles.Command("kill", System.Text.RegularExpressions.Regex.Match(forked.Output, @"process (\d+),").Groups[1].Value);
    }

    [Fact]
    public async Task Both_together_ask_for_both_and_the_unix_socket_for_none()
    {
        string api = _scratch.PathOf("api.sock");
        using VmmProcess vmm = Serve(out int port, ["--api", api, .. Server, .. ByCertificate, .. ByToken]);
        using HttpClient client = Client(port, Shown("ca"));
        Assert.Equal(HttpStatusCode.Unauthorized, (await Get(client, HttpVersion.Version20)).StatusCode);
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", Token);
        Assert.Equal(HttpStatusCode.OK, (await Get(client, HttpVersion.Version20)).StatusCode);
        using ApiClient local = new(api);
        Assert.Equal("serve", local.Get("/v1/machine").GetProperty("kind").GetString());
    }

    [Fact]
    public async Task A_client_that_speaks_no_TLS_or_waits_does_not_disturb_the_others()
    {
        using VmmProcess vmm = Serve(out int port, [.. Server, .. ByToken]);
        List<Socket> idle = [];
        try
        {
            foreach (string said in (string[])["", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\u0016\u0003\u0001", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])
            {
                Socket socket = new(SocketType.Stream, ProtocolType.Tcp);
                idle.Add(socket);
                await socket.ConnectAsync(IPAddress.Loopback, port, TestContext.Current.CancellationToken);
                socket.Send(Encoding.Latin1.GetBytes(said));
            }
            using HttpClient client = Client(port);
            client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", Token);
            Assert.Equal(HttpStatusCode.OK, (await Get(client, HttpVersion.Version11)).StatusCode);
            // Each is sent away, without a word of HTTP.
            foreach (Socket socket in idle)
            {
                byte[] answer = new byte[512];
                int length = 0;
                try
                {
                    while (socket.Receive(answer.AsSpan(length)) is var more and > 0) length += more;
                }
                catch (SocketException)
                {
                    // Reset.
                }
                Assert.DoesNotContain("HTTP", Encoding.Latin1.GetString(answer, 0, length));
            }
        }
        finally
        {
            idle.ForEach(each => each.Dispose());
        }
    }

    [Theory]
    [InlineData("is open to everyone", "--api-tls", "127.0.0.1:0", "--api-cert", "c", "--api-key", "k")]
    [InlineData("needs a certificate and its key", "--api-tls", "127.0.0.1:0", "--api-token", "t")]
    [InlineData("--api-token without --api-tls", "--api-token", "t")]
    [InlineData("give an address and a port", "--api-tls", "localhost")]
    [InlineData("give an address and a port", "--api-tls", "127.1:80")]
    [InlineData("give an address and a port", "--api-tls", "/run/x")]
    public void What_would_be_open_or_makes_no_sense_is_refused(string words, params string[] options)
    {
        VmmResult result = VmmProcess.Run(["serve", "--rng", $"socket={_scratch.PathOf("s")}", .. options]);
        Assert.Equal(2, result.ExitCode);
        Assert.Contains(words, result.Error);
    }

    [Fact]
    public void Files_that_are_not_what_they_should_be_are_named()
    {
        string open = _scratch.PathOf("open"), empty = _scratch.PathOf("empty");
        File.WriteAllText(open, Token);
        File.SetUnixFileMode(open, (UnixFileMode)0b110_100_100);
        File.WriteAllText(empty, "short");
        File.SetUnixFileMode(empty, UnixFileMode.UserRead);
        foreach ((string words, string[] options) in ((string, string[])[])
        [
            ("chmod 600", [.. Server, "--api-token", open]),
            ("holds no token", [.. Server, "--api-token", empty]),
            ("cannot use", [.. Server, "--api-token", _scratch.PathOf("none")]),
            ("holds no certificate", [.. Server, "--api-clients", empty]),
            ("cannot use", ["--api-cert", empty, "--api-key", empty, .. ByToken]),
        ])
        {
            VmmResult result = VmmProcess.Run(["serve", "--rng", $"socket={_scratch.PathOf("s")}", "--api-tls", "127.0.0.1:0", .. options]);
            Assert.Equal(1, result.ExitCode);
            Assert.Contains(words, result.Error);
        }
    }

    public void Dispose() => _scratch.Dispose();

    private VmmProcess Serve(out int port, params string[] options) =>
        Start(out port, ["serve", "--rng", $"socket={_scratch.PathOf("s")}"], options);

    private VmmProcess Start(out int port, string[] command, string[] options)
    {
        string local = _scratch.PathOf("own.sock");
        VmmProcess vmm = new([.. command, "--api-tls", "127.0.0.1:0", .. options.Contains("--api") ? [] : (string[])["--api", local], .. options]);
        // It says where it listens when it is asked, too.
        using ApiClient api = WaitForApi(vmm, options.Contains("--api") ? options[Array.IndexOf(options, "--api") + 1] : local);
        port = new Uri(api.Get("/v1/machine").GetProperty("address").GetString()!).Port;
        return vmm;
    }

    private static ApiClient WaitForApi(VmmProcess vmm, string socket)
    {
        // 'boot' prints nothing of it, and 'serve' says so when it listens.
        Assert.True(SpinWait.SpinUntil(() => vmm.HasEnded || VmmProcess.Run("ctl", socket, "get").ExitCode == 0, SnapshotFiles.Watchdog));
        return new ApiClient(socket);
    }

    private X509Certificate2 Shown(string authority, string name = "client") =>
        X509Certificate2.CreateFromPemFile(CertificateOf(authority, name), _scratch.PathOf($"{authority}/{name}-key.pem"));

    private HttpClient Client(int port, X509Certificate2? shown = null)
    {
        X509ChainPolicy policy = new() { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
        policy.CustomTrustStore.ImportFromPemFile(CertificateOf("ca", "ca"));
        SslClientAuthenticationOptions options = new() { CertificateChainPolicy = policy };
        if (shown is not null) options.ClientCertificateContext = SslStreamCertificateContext.Create(shown, null, offline: true);
        return new HttpClient(new SocketsHttpHandler { SslOptions = options, UseProxy = false }) { BaseAddress = new Uri($"https://localhost:{port}") };
    }

    private static Task<HttpResponseMessage> Get(HttpClient client, Version version) => client.SendAsync(
        new HttpRequestMessage(HttpMethod.Get, "/v1/machine") { Version = version, VersionPolicy = HttpVersionPolicy.RequestVersionExact },
        TestContext.Current.CancellationToken);
}
