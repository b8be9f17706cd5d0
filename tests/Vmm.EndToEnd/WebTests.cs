using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text.RegularExpressions;

namespace Vmm.EndToEnd;

/// <summary>The page as files, who may have it, and the port that <c>vmm ctl web</c> opens for a browser.</summary>
public sealed partial class WebTests : IDisposable
{
    private readonly ScratchDirectory _scratch = new();

    private string Api => _scratch.PathOf("api.sock");

    [Fact]
    public void Every_file_of_the_page_is_served_with_its_type_a_strong_tag_and_a_strict_policy()
    {
        using VmmProcess vmm = Serve();
        using HttpClient http = Client();
        string[] files = [.. Directory.GetFiles(Repository.PathOf("tools/vmm/Web"), "*", SearchOption.AllDirectories).Where(path => !path.EndsWith("origin.txt", StringComparison.Ordinal))];
        Assert.InRange(files.Length, 8, 50);
        foreach (string file in files)
        {
            string name = Path.GetFileName(file);
            using HttpResponseMessage answer = http.GetAsync(name == "index.html" ? "/" : $"/{name}").Result;
            Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
            Assert.Equal(File.ReadAllBytes(file), answer.Content.ReadAsByteArrayAsync().Result);
            Assert.Equal(Path.GetExtension(name) switch { ".html" => "text/html", ".css" => "text/css", ".svg" => "image/svg+xml", ".txt" => "text/plain", _ => "text/javascript" },
                answer.Content.Headers.ContentType?.MediaType);
            Assert.Contains("default-src 'none'; script-src 'self'; style-src 'self'", answer.Headers.GetValues("Content-Security-Policy").Single());
            Assert.Equal("nosniff", answer.Headers.GetValues("X-Content-Type-Options").Single());
            Assert.False(answer.Headers.ETag!.IsWeak);
            using HttpRequestMessage again = new(HttpMethod.Get, name == "index.html" ? "/" : $"/{name}") { Headers = { IfNoneMatch = { answer.Headers.ETag } } };
            using HttpResponseMessage same = http.SendAsync(again).Result;
            Assert.Equal((HttpStatusCode.NotModified, 0), (same.StatusCode, same.Content.ReadAsByteArrayAsync().Result.Length));
        }
        using HttpResponseMessage head = http.SendAsync(new HttpRequestMessage(HttpMethod.Head, "/page.js")).Result;
        Assert.Equal((HttpStatusCode.OK, new FileInfo(Repository.PathOf("tools/vmm/Web/page.js")).Length), (head.StatusCode, head.Content.Headers.ContentLength));
    }

    [Fact]
    public void The_page_names_no_other_host_and_has_no_script_or_style_in_its_text()
    {
        foreach (string file in Directory.GetFiles(Repository.PathOf("tools/vmm/Web")))
        {
            string text = File.ReadAllText(file);
            Assert.All(Addresses().Matches(text), address => Assert.Equal("http://www.w3.org/2000/svg", address.Value));
            if (file.EndsWith(".html", StringComparison.Ordinal)) Assert.DoesNotMatch("(?i)<style|<script(?! type=\"module\" src=)| style=| on[a-z]+=|javascript:", text);
            Assert.DoesNotMatch("innerHTML|outerHTML|insertAdjacentHTML|document\\.write|\\beval\\(|new Function", text);
        }
    }

    [Fact]
    public void The_terminal_is_the_package_that_its_origin_names()
    {
        string folder = Repository.PathOf("tools/vmm/Web/xterm");
        string[] named = [.. File.ReadLines(Path.Combine(folder, "origin.txt")).Where(line => line.Contains(" sha256 ", StringComparison.Ordinal))];
        Assert.Equal(Directory.GetFiles(folder).Length - 1, named.Length);
        foreach (string[] words in named.Select(line => line.Split(' ')))
            Assert.Equal(words[2], Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(Path.Combine(folder, words[0])))));
    }

    [Theory]
    [InlineData("localhost:8080", null, null, 200)]
    [InlineData("127.0.0.1:8080", "http://127.0.0.1:8080", "same-origin", 200)]
    [InlineData("[::1]:8080", null, "none", 200)]
    [InlineData("vmm", null, null, 200)]
    // A name that was given this host's address.
    [InlineData("evil.example:8080", null, null, 403)]
    [InlineData("127.0.0.1.evil.example", "http://127.0.0.1.evil.example", "same-origin", 403)]
    // Another page, which sends to this port.
    [InlineData("127.0.0.1:8080", "http://evil.example", null, 403)]
    [InlineData("127.0.0.1:8080", "http://127.0.0.1:8081", "same-site", 403)]
    [InlineData("127.0.0.1:8080", "null", null, 403)]
    [InlineData("127.0.0.1:8080", null, "cross-site", 403)]
    public void What_a_page_of_another_site_sends_is_refused(string host, string? origin, string? site, int status)
    {
        using VmmProcess vmm = Serve();
        using HttpClient http = Client();
        foreach (string path in (string[])["/", "/v1/machine"])
        {
            using HttpRequestMessage request = new(HttpMethod.Get, path);
            request.Headers.Host = host;
            if (origin is not null) request.Headers.Add("Origin", origin);
            if (site is not null) request.Headers.Add("Sec-Fetch-Site", site);
            Assert.Equal(status, (int)http.SendAsync(request).Result.StatusCode);
        }
    }

    [Fact]
    public void A_port_for_a_browser_opens_once_and_for_that_browser_only()
    {
        using VmmProcess vmm = Serve();
        using VmmProcess web = new("ctl", Api, "web");
        web.WaitFor("/?token=");
        Uri address = new(web.Lines[0]);
        Assert.Equal("127.0.0.1", address.Host);
        Uri root = new(address, "/");
        using HttpClient stranger = new(new HttpClientHandler { AllowAutoRedirect = false, UseCookies = false });
        Assert.Equal(HttpStatusCode.Unauthorized, stranger.GetAsync(root).Result.StatusCode);
        Assert.Equal(HttpStatusCode.Unauthorized, stranger.GetAsync(new Uri(address, "/v1/machine")).Result.StatusCode);
        Assert.Equal(HttpStatusCode.Forbidden, stranger.GetAsync(new Uri(address, "/?token=0")).Result.StatusCode);

        CookieContainer cookies = new();
        using HttpClient browser = new(new HttpClientHandler { CookieContainer = cookies });
        Assert.Contains("<title>vmm</title>", browser.GetStringAsync(address).Result);
        Cookie cookie = Assert.Single(cookies.GetCookies(root));
        Assert.True(cookie.HttpOnly);
        Assert.Contains("\"serve\"", browser.GetStringAsync(new Uri(address, "/v1/machine")).Result);
        using (StreamReader events = new(browser.GetStreamAsync(new Uri(address, "/v1/events")).Result)) Assert.Equal(": events from now on", events.ReadLine());
        using (HttpResponseMessage changed = browser.PatchAsync(new Uri(address, "/v1/devices/rng0"), new StringContent("""{ "bytesPerSecond": 4096 }""", new System.Net.Http.Headers.MediaTypeHeaderValue("application/json"))).Result)
            Assert.Contains("\"bytesPerSecond\":4096", changed.Content.ReadAsStringAsync().Result);

        // The token is spent.
        Assert.Equal(HttpStatusCode.Forbidden, stranger.GetAsync(address).Result.StatusCode);
        // The cookie does not help a name that was given this address.
        using HttpRequestMessage rebound = new(HttpMethod.Get, new Uri(address, "/v1/machine"));
        rebound.Headers.Host = $"evil.example:{address.Port}";
        rebound.Headers.Add("Cookie", $"{cookie.Name}={cookie.Value}");
        Assert.Equal(HttpStatusCode.Forbidden, stranger.SendAsync(rebound).Result.StatusCode);
        // A page of another site, in the same browser.
        using HttpRequestMessage forged = new(HttpMethod.Post, new Uri(address, "/v1/machine/stop"));
        forged.Headers.Add("Origin", "http://evil.example");
        forged.Headers.Add("Cookie", $"{cookie.Name}={cookie.Value}");
        Assert.Equal(HttpStatusCode.Forbidden, stranger.SendAsync(forged).Result.StatusCode);

        vmm.Signal("TERM");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
        Assert.Equal(HttpStatusCode.BadGateway, browser.GetAsync(new Uri(address, "/v1/machine")).Result.StatusCode);
        web.Signal("INT");
        Assert.Equal(0, web.WaitForExit().ExitCode);
    }

    [Fact]
    public void A_port_in_use_and_an_API_that_is_not_there_are_answered_by_a_sentence()
    {
        Assert.Contains("does a vmm run with --api", VmmProcess.Run("ctl", Api, "web").Error);
        using VmmProcess vmm = Serve();
        using TcpListener taken = new(IPAddress.Loopback, 0);
        taken.Start();
        VmmResult refused = VmmProcess.Run("ctl", Api, "web", "--port", $"{((IPEndPoint)taken.LocalEndpoint).Port}");
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("in use", refused.Error);
        Assert.Single(refused.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }

    public void Dispose() => _scratch.Dispose();

    private VmmProcess Serve()
    {
        VmmProcess vmm = new("serve", "--api", Api, "--rng", $"socket={_scratch.PathOf("rng.sock")}");
        vmm.WaitFor($"listening api {Api}");
        return vmm;
    }

    private HttpClient Client() => new(new SocketsHttpHandler
    {
        ConnectCallback = async (_, cancel) =>
        {
            Socket connection = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await connection.ConnectAsync(new UnixDomainSocketEndPoint(Api), cancel);
            return new NetworkStream(connection, ownsSocket: true);
        },
    })
    { BaseAddress = new Uri("http://vmm") };

    [GeneratedRegex("[a-z]+://[^\"' )<>]+")]
    private static partial Regex Addresses();
}
