using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;

namespace Vmm.EndToEnd;

/// <summary>Measurements: the text that is offered, and Debian's Prometheus, which scrapes it and answers a query.</summary>
public sealed class MetricsTests : IDisposable
{
    private const long MiB = 1 << 20;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly ScratchDirectory _scratch = new();

    private string Api => _scratch.PathOf("api.sock");

    [Fact]
    public void A_disk_counts_its_requests_and_their_latency()
    {
        string socket = _scratch.PathOf("s");
        using VmmProcess vmm = Serve("--blk", $"path={_scratch.CreateImage("i", MiB)},socket={socket}");
        using ApiClient api = new(Api);
        Assert.Equal(0, VmmProcess.Run("bench", "vhost-user-blk", "--socket", socket, "--seconds", "1").ExitCode);
        Dictionary<string, double> series = Series(api.Text("/metrics"));
        double requests = series["vmm_device_requests_total{device=\"blk0\"}"];
        Assert.True(requests > 0);
        Assert.Equal(requests, series.Where(each => each.Key.StartsWith("vmm_disk_request_duration_seconds_count{device=\"blk0\"", StringComparison.Ordinal))
            .Sum(each => each.Value));
        const string Read = "{device=\"blk0\",kind=\"read\"";
        Assert.Equal(series[$"vmm_disk_request_duration_seconds_count{Read}}}"], series[$"vmm_disk_request_duration_seconds_bucket{Read},le=\"+Inf\"}}"]);
        Assert.Equal(0, series["vmm_disk_errors_total{device=\"blk0\",kind=\"write\"}"]);
        Assert.Equal(0, series["vmm_device_in_flight{device=\"blk0\"}"]);
        Assert.DoesNotContain(series.Keys, name => name.Contains("kind=\"discard\",le", StringComparison.Ordinal));
        Assert.Equal(MiB, series["vmm_disk_capacity_bytes{device=\"blk0\"}"]);
        Assert.Equal(1, series["vmm_vhost_user_connections_total{device=\"blk0\"}"]);
        Assert.True(series["vmm_events_waits_total{reactor=\"reactor0\"}"] > 0);
        double[] buckets = [.. series.Where(each => each.Key.Contains($"_bucket{Read}", StringComparison.Ordinal)).Select(each => each.Value)];
        Assert.Equal(buckets.Order(), buckets);
        Assert.True(series[$"vmm_disk_request_duration_seconds_sum{Read}}}"] > 0);
    }

    [Fact]
    public void A_disk_counts_the_time_that_its_limit_held_it()
    {
        string held = _scratch.PathOf("h"), free = _scratch.PathOf("f");
        using VmmProcess vmm = Serve("--blk", $"path=null:1M,socket={held},limit=iops=100", "--blk", $"path=null:1M,socket={free}");
        using ApiClient api = new(Api);
        const string Name = "vmm_device_throttled_time_seconds_total{device=\"blk";
        Assert.Equal(0, Series(api.Text("/metrics"))[$"{Name}0\"}}"]);
        Stopwatch clock = Stopwatch.StartNew();
        Assert.Equal(0, VmmProcess.Run("bench", "vhost-user-blk", "--socket", held, "--seconds", "2").ExitCode);
        double most = clock.Elapsed.TotalSeconds;
        Dictionary<string, double> series = Series(api.Text("/metrics"));
        // What is asked for is far more than the limit: the queue waited for nearly all of the time.
        Assert.InRange(series[$"{Name}0\"}}"], 1, most);
        Assert.DoesNotContain($"{Name}1\"}}", series.Keys);
        using JsonDocument devices = JsonDocument.Parse(api.Text("/v1/devices/blk0"));
        Assert.InRange(devices.RootElement.GetProperty("throttledSeconds").GetDouble(), 1, most);
    }

    /// <summary>The aims are 50 ms and 2 MiB; the time is the machine's business, and asserted with room.</summary>
    [Fact]
    public void A_thousand_disks_are_read_at_once()
    {
        const int Disks = 1000;
        using VmmProcess vmm = Serve([.. Enumerable.Range(0, Disks).SelectMany(i => (string[])["--blk", $"path=null:1M,socket={_scratch.PathOf($"{i}")}"])]);
        using ApiClient api = new(Api);
        string text = api.Text("/metrics");
        TimeSpan least = Enumerable.Range(0, 10).Min(_ =>
        {
            long start = Stopwatch.GetTimestamp();
            api.Text("/metrics");
            return Stopwatch.GetElapsedTime(start);
        });
        TestContext.Current.SendDiagnosticMessage(string.Create(CultureInfo.InvariantCulture, $"{Disks} disks: {text.Length} bytes in {least.TotalMilliseconds:0.0} ms"));
        Assert.InRange(text.Length, 1, 2 << 20);
        Assert.InRange(least, TimeSpan.Zero, TimeSpan.FromSeconds(1));
        Assert.Equal(Disks, Series(text).Keys.Count(name => name.StartsWith("vmm_disk_capacity_bytes{", StringComparison.Ordinal)));
        vmm.Signal("TERM");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
    }

    [Fact]
    public async Task Prometheus_scrapes_it_and_answers_a_query()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/prometheus"), "prometheus is not installed: tools/test.sh installs it");
        string socket = _scratch.PathOf("s");
        using VmmProcess vmm = Serve("--blk", $"path={_scratch.CreateImage("i", MiB)},socket={socket}");
        Assert.Equal(0, VmmProcess.Run("bench", "vhost-user-blk", "--socket", socket, "--seconds", "1").ExitCode);
        // Prometheus connects over TCP; socat stands between, as docs/operations/metrics.md has it.
        int bridge = FreePort(), port = FreePort();
        using Process socat = Process.Start("socat", [$"TCP-LISTEN:{bridge},bind=127.0.0.1,fork,reuseaddr", $"UNIX-CONNECT:{Api}"]);
        File.WriteAllText(_scratch.PathOf("prometheus.yml"), $"""
            global: {"{"} scrape_interval: 1s {"}"}
            scrape_configs: [{"{"} job_name: vmm, static_configs: [{"{"} targets: ['127.0.0.1:{bridge}'] {"}"}] {"}"}]
            """);
        using Process prometheus = Process.Start(new ProcessStartInfo("prometheus",
            [$"--config.file={_scratch.PathOf("prometheus.yml")}", $"--storage.tsdb.path={_scratch.PathOf("data")}", $"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]))!;
        try
        {
            using HttpClient http = new() { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
            double expected = Series(new ApiClient(Api).Text("/metrics"))["vmm_device_requests_total{device=\"blk0\"}"];
            Assert.Equal(expected, await Ask(http, "vmm_device_requests_total{device=\"blk0\"}"));
            Assert.True(await Ask(http, "histogram_quantile(0.99, vmm_disk_request_duration_seconds_bucket{device=\"blk0\",kind=\"read\"})") > 0);
        }
        finally
        {
            prometheus.Kill();
            prometheus.WaitForExit();
            socat.Kill();
            socat.WaitForExit();
        }
    }

    public void Dispose() => _scratch.Dispose();

    /// <summary>The answer to a query, when there is one.</summary>
    private static async Task<double> Ask(HttpClient http, string query)
    {
        long start = Stopwatch.GetTimestamp();
        while (true)
        {
            try
            {
                string answer = await http.GetStringAsync($"/api/v1/query?query={Uri.EscapeDataString(query)}");
                JsonElement result = JsonDocument.Parse(answer).RootElement.GetProperty("data").GetProperty("result");
                if (result.GetArrayLength() == 1) return double.Parse(result[0].GetProperty("value")[1].GetString()!, CultureInfo.InvariantCulture);
            }
            catch (HttpRequestException)
            {
                // It does not listen yet.
            }
            Assert.True(Stopwatch.GetElapsedTime(start) < Patience, $"no answer to {query}");
            await Task.Delay(100);
        }
    }

    private static Dictionary<string, double> Series(string text) => text.Split('\n', StringSplitOptions.RemoveEmptyEntries)
        .Where(line => line[0] != '#').ToDictionary(line => line[..line.LastIndexOf(' ')], line => double.Parse(line[(line.LastIndexOf(' ') + 1)..], CultureInfo.InvariantCulture));

    private static int FreePort()
    {
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private VmmProcess Serve(params string[] devices)
    {
        VmmProcess vmm = new(["serve", "--api", Api, .. devices]);
        vmm.WaitFor($"listening api {Api}");
        return vmm;
    }
}
