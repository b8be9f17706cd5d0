using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Vmm.EndToEnd;

/// <summary>Measurements and slow requests are sent by OTLP to a collector that the environment names: to one of this test's own.</summary>
public sealed class OtlpTests : IDisposable
{
    private const long MiB = 1 << 20;

    private readonly ScratchDirectory _scratch = new();

    [Theory]
    [InlineData("auto")]
    [InlineData("require")]
    public void A_collector_gets_measurements_and_a_span_for_each_slow_request(string sandbox)
    {
        Assert.SkipUnless(File.Exists("/usr/sbin/nbdkit") || File.Exists("/usr/bin/nbdkit"), "nbdkit is not installed: tools/test.sh installs it");
        Assert.SkipUnless(sandbox == "auto" || VmmTool.PublishedFile is not null, "only the published file has a sandbox");
        using Collector collector = new();
        string slow = _scratch.PathOf("nbd"), socket = _scratch.PathOf("a.sock"), quick = _scratch.PathOf("b.sock");
        using Process storage = Process.Start("nbdkit", ["--foreground", "-U", slow, "--filter=delay", "memory", "4M", "rdelay=150ms"]);
        try
        {
            Assert.True(SpinWait.SpinUntil(() => File.Exists(slow), TimeSpan.FromSeconds(30)));
            string[] environment =
            [
                "env", $"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{collector.Port}", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
                "OTEL_METRIC_EXPORT_INTERVAL=300", "OTEL_BSP_SCHEDULE_DELAY=300", "OTEL_RESOURCE_ATTRIBUTES=rack=seven",
            ];
            using VmmProcess vmm = new(environment, ["serve", "--sandbox", sandbox, "--slow-ms", "100", "--blk", $"path=nbd+unix:///?socket={slow},socket={socket},limit=iops=3",
                "--blk", $"path=null:1M,socket={quick}"]);
            vmm.WaitFor("listening blk");
            foreach (string disk in (string[])[socket, quick])
                Assert.Equal(0, VmmProcess.Run("bench", "vhost-user-blk", "--socket", disk, "--seconds", "1", "--rw", "randread", "--depth", "1").ExitCode);
            collector.WaitFor("/v1/metrics", "vmm.device.requests", "blk0", "blk1", "vmm.disk.capacity", "vmm.events.waits", "rack", "seven", "service.name", "vmm");
            collector.WaitFor("/v1/metrics", "vmm.disk.request.duration");
            // As the disks count: each of the two has its reads, by their latency.
            foreach ((string disk, double leastMs) in ((string, double)[])[("blk0", 100), ("blk1", 0)])
            {
                Histogram reads = collector.Histograms().Last(each => each.Device == disk && each.Kind == "read");
                Assert.Equal(reads.Count, reads.Buckets.Sum());
                Assert.Equal(reads.Bounds.Length + 1, reads.Buckets.Length);
                Assert.True(reads.Count > 0 && reads.Sum >= leastMs / 1000 * reads.Count, $"{disk}: {reads.Count} in {reads.Sum} s");
                Assert.Equal(0, reads.Bounds.Zip(reads.Buckets).Where(each => each.First * 1000 <= leastMs).Sum(each => each.Second));
            }
            // Where the time of the slow ones went.
            collector.WaitFor("/v1/traces", "queue", "backend", "completion");
            collector.WaitFor("/v1/traces", "blk0 read", "vmm.device", "vmm.in_flight", "requests0", "vmm.request.kind", "read", "rack");
            vmm.Signal("TERM");
            Assert.Equal(0, vmm.WaitForExit().ExitCode);
            Assert.DoesNotContain("blk1 read", collector.Words("/v1/traces"));
        }
        finally
        {
            storage.Kill();
            storage.WaitForExit();
        }
    }

    [Fact]
    public void What_was_measured_last_is_sent_at_the_end_and_a_collector_that_is_not_there_keeps_nothing()
    {
        string socket = _scratch.PathOf("a.sock");
        using (Collector collector = new())
        {
            using VmmProcess vmm = new(["env", $"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{collector.Port}", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
                "OTEL_SERVICE_NAME=mine"], ["serve", "--blk", $"path=null:1M,socket={socket}"]);
            vmm.WaitFor("listening blk");
            vmm.Signal("TERM");
            Assert.Equal(0, vmm.WaitForExit().ExitCode);
            collector.WaitFor("/v1/metrics", "vmm.disk.capacity", "mine");
        }
        using VmmProcess alone = new(["env", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:9", "OTEL_METRIC_EXPORT_INTERVAL=100", "OTEL_EXPORTER_OTLP_TIMEOUT=1000"],
            ["serve", "--blk", $"path=null:1M,socket={socket}"]);
        alone.WaitFor("listening blk");
        Assert.Equal(0, VmmProcess.Run("bench", "vhost-user-blk", "--socket", socket, "--seconds", "1").ExitCode);
        alone.Signal("TERM");
        Assert.Equal(0, alone.WaitForExit().ExitCode);
    }

    [Theory]
    [InlineData(null, false)]
    [InlineData("OTEL_SDK_DISABLED=true", true)]
    public void Without_a_collector_nothing_of_it_is_loaded(string? more, bool isNamed)
    {
        string[] environment = ["env", .. isNamed ? ["OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:9"] : (string[])[], .. more is null ? [] : (string[])[more]];
        string[] command = [.. environment, "dotnet", VmmTool.Assembly, "serve", "--rng", $"socket={_scratch.PathOf("t")}"];
        using Process assembly = Process.Start(new ProcessStartInfo(command[0], command[1..]) { RedirectStandardOutput = true })!;
        try
        {
            Assert.Contains("listening", assembly.StandardOutput.ReadLine());
            Assert.DoesNotContain("OpenTelemetry", File.ReadAllText($"/proc/{assembly.Id}/maps"));
        }
        finally
        {
            assembly.Kill();
        }
    }

    public void Dispose() => _scratch.Dispose();

    /// <summary>Takes OTLP over HTTP/1.1, and keeps the words of its messages.</summary>
    private sealed class Collector : IDisposable
    {
        private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

        private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
        private readonly Dictionary<string, HashSet<string>> _words = [];
        private readonly List<Histogram> _histograms = [];

        internal Collector()
        {
            _listener.Start();
            _ = AcceptAsync();
        }

        internal int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

        internal HashSet<string> Words(string path)
        {
            lock (_words) return [.. _words.GetValueOrDefault(path, [])];
        }

        internal IReadOnlyList<Histogram> Histograms()
        {
            lock (_words) return [.. _histograms];
        }

        internal void WaitFor(string path, params string[] words) => Assert.True(SpinWait.SpinUntil(() => words.All(Words(path).Contains), Patience),
            $"{path} lacks {string.Join(", ", words.Except(Words(path)))}: {string.Join(' ', Words(path))}");

        public void Dispose() => _listener.Dispose();

        private async Task AcceptAsync()
        {
            try
            {
                while (true) _ = ServeAsync(await _listener.AcceptTcpClientAsync());
            }
            catch (Exception ended) when (ended is SocketException or ObjectDisposedException)
            {
                // The test is over.
            }
        }

        private async Task ServeAsync(TcpClient client)
        {
            try
            {
                using NetworkStream stream = client.GetStream();
                while (await ReadHeadAsync(stream) is { Length: > 0 } head)
                {
                    string[] lines = head.Split("\r\n");
                    string length = lines.Single(line => line.StartsWith("Content-Length:", StringComparison.OrdinalIgnoreCase));
                    byte[] body = new byte[int.Parse(length.AsSpan("Content-Length:".Length), CultureInfo.InvariantCulture)];
                    await stream.ReadExactlyAsync(body);
                    lock (_words)
                    {
                        string path = lines[0].Split(' ')[1];
                        if (!_words.TryGetValue(path, out HashSet<string>? words)) _words[path] = words = [];
                        Collect(body, words, depth: 0);
                        if (path == "/v1/metrics") _histograms.AddRange(Histogram.In(body));
                    }
                    await stream.WriteAsync("HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"u8.ToArray());
                }
            }
            catch (IOException)
            {
                // The sender has ended.
            }
        }

        private static async Task<string> ReadHeadAsync(NetworkStream stream)
        {
            List<byte> head = [];
            byte[] next = new byte[1];
            while (!head.TakeLast(4).SequenceEqual("\r\n\r\n"u8.ToArray()))
            {
                if (await stream.ReadAsync(next) == 0) return "";
                head.Add(next[0]);
            }
            return Encoding.ASCII.GetString([.. head]).Trim();
        }

        /// <summary>Fields with a length are messages or words (protobuf): whatever can be read as the former may be that.</summary>
        private static bool Collect(ReadOnlySpan<byte> message, HashSet<string> words, int depth)
        {
            const int depthMax = 12;
            bool isMessage = depth < depthMax;
            ReadOnlySpan<byte> rest = message;
            while (isMessage && rest.Length > 0)
            {
                if (!TryNumber(ref rest, out ulong tag) || tag >> 3 == 0) return false;
                switch (tag & 7)
                {
                    case 0 when TryNumber(ref rest, out _): break;
                    case 1 when rest.Length >= 8: rest = rest[8..]; break;
                    case 5 when rest.Length >= 4: rest = rest[4..]; break;
                    case 2 when TryNumber(ref rest, out ulong length) && length <= (ulong)rest.Length:
                        ReadOnlySpan<byte> field = rest[..(int)length];
                        rest = rest[(int)length..];
                        words.Add(Encoding.UTF8.GetString(field));
                        Collect(field, words, depth + 1);
                        break;
                    default: return false;
                }
            }
            return isMessage;
        }

        private static bool TryNumber(ref ReadOnlySpan<byte> rest, out ulong number)
        {
            number = 0;
            for (int shift = 0; shift < 64 && rest.Length > 0; shift += 7)
            {
                byte next = rest[0];
                rest = rest[1..];
                number |= (ulong)(next & 0x7f) << shift;
                if (next < 0x80) return true;
            }
            return false;
        }
    }

    /// <summary>A data point of a histogram (opentelemetry/proto/metrics/v1/metrics.proto).</summary>
    private sealed record Histogram(string Device, string Kind, long Count, double Sum, long[] Buckets, double[] Bounds)
    {
        internal static IEnumerable<Histogram> In(byte[] request) =>
            from resource in Fields(request, 1)
            from scope in Fields(resource, 2)
            from metric in Fields(scope, 2)
            where Encoding.UTF8.GetString(Fields(metric, 1).Single()) == "vmm.disk.request.duration"
            from histogram in Fields(metric, 9)
            from point in Fields(histogram, 1)
            select new Histogram(Attribute(point, "device"), Attribute(point, "kind"), BitConverter.ToInt64(Fields(point, 4).Single()),
                BitConverter.ToDouble(Fields(point, 5).Single()),
                [.. Fields(point, 6).Single().Chunk(8).Select(bytes => BitConverter.ToInt64(bytes))],
                [.. Fields(point, 7).Single().Chunk(8).Select(bytes => BitConverter.ToDouble(bytes))]);

        private static string Attribute(byte[] point, string key) => Encoding.UTF8.GetString(Fields(
            Fields(Fields(point, 9).Single(pair => Encoding.UTF8.GetString(Fields(pair, 1).Single()) == key), 2).Single(), 1).Single());

        /// <summary>The contents of the fields of a number in a message.</summary>
        private static List<byte[]> Fields(byte[] message, int number)
        {
            List<byte[]> found = [];
            for (int at = 0; at < message.Length;)
            {
                ulong tag = Number(message, ref at);
                int start = at, length = (tag & 7) switch { 1 => 8, 5 => 4, 2 => (int)Number(message, ref at), _ => -1 };
                if (length >= 0) start = at;
                else Number(message, ref at);
                int end = length >= 0 ? at + length : at;
                if (tag >> 3 == (ulong)number) found.Add(message[start..end]);
                at = end;
            }
            return found;
        }

        private static ulong Number(byte[] message, ref int at)
        {
            ulong number = 0;
            for (int shift = 0; ; shift += 7)
            {
                byte next = message[at++];
                number |= (ulong)(next & 0x7f) << shift;
                if (next < 0x80) return number;
            }
        }
    }
}
