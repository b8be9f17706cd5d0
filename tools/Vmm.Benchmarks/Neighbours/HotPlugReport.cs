using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Spectre.Console;
using Vmm.Devices;

namespace Vmm.Benchmarks;

/// <summary>
/// <c>compare hot-plug</c>: what a disk's front-end notices while a thousand other disks are added to its reactor over the control API, and
/// taken out again.
/// </summary>
internal static class HotPlugReport
{
    internal const string Suite = "hot-plug";

    private const int Slices = 7, PairsPerSlice = 143;
    private const long DiskBytes = 16 << 20;

    /// <summary>Descriptors may be this many more at the end: connections of the API that are kept open.</summary>
    private const int Slack = 2;

    /// <returns>Whether every bound is kept.</returns>
    internal static bool Print(IAnsiConsole console, bool isQuick)
    {
        TimeSpan slice = isQuick ? TimeSpan.FromSeconds(1) : TimeSpan.FromSeconds(2);
        console.MarkupLineInterpolated(
            $"[bold]{Suite}[/]: 4 KiB reads, {Slices} times {slice.TotalSeconds} s beside {PairsPerSlice} disks that come and go");
        BoundTable table = new(Suite);
        using Folder folder = new();
        string image = folder.PathOf("image"), socket = folder.PathOf("good"), api = folder.PathOf("api");
        using (FileStream file = File.Create(image)) file.SetLength(DiskBytes);
        using MeasuredProcess server = RemoteDisks.Listen(socket,
        [
            PublishedTool.Path, "serve", PublishedTool.NoSandbox, "--reactors", "1", "--api", api, "--blk", $"path={image},socket={socket}",
        ]);
        using HttpClient client = Client(api);
        using NeighbourLoad load = new(socket, DiskBytes);
        LatencyHistogram alone = new(), beside = new();
        load.Run(slice, new LatencyHistogram());
        ComeAndGo(client, folder, TimeSpan.Zero);
        (int descriptors, int threads) = (server.Descriptors, server.Threads);
        for (int i = 0; i < Slices; i++)
        {
            load.Run(slice, alone);
            Task others = Task.Run(() => ComeAndGo(client, folder, slice / PairsPerSlice));
            load.Run(slice, beside);
            others.GetAwaiter().GetResult();
        }
        table.Say("disks that came and went", (Slices * PairsPerSlice).ToString("N0", CultureInfo.InvariantCulture));
        table.AtMost("the median", (double)beside.Percentile(50) / alone.Percentile(50), 1.1);
        table.AtMost("p99", (double)beside.Percentile(99) / alone.Percentile(99), 1.5);
        table.AtMost("errors", load.Errors, 0);
        table.AtMost("descriptors left behind", server.Descriptors - descriptors, Slack);
        table.Say("threads before, after", $"{threads}, {server.Threads}");
        table.Print(console);
        return table.IsKept;
    }

    /// <summary>Adds and removes one disk after the other, evenly over some time.</summary>
    private static void ComeAndGo(HttpClient client, Folder folder, TimeSpan each)
    {
        string body = $$"""{"kind":"blk","options":"path=null:1M,socket={{folder.PathOf("other")}}"}""";
        for (int i = 0; i < PairsPerSlice; i++)
        {
            long start = Stopwatch.GetTimestamp();
            Send(client, HttpMethod.Post, "/v1/devices", body);
            Send(client, HttpMethod.Delete, "/v1/devices/blk1", null);
            TimeSpan left = each - Stopwatch.GetElapsedTime(start);
            if (left > TimeSpan.Zero) Thread.Sleep(left);
        }
    }

    private static void Send(HttpClient client, HttpMethod method, string path, string? body)
    {
        using HttpRequestMessage request = new(method, path);
        if (body is not null) request.Content = new StringContent(body, Encoding.UTF8, "application/json");
        using HttpResponseMessage answer = client.Send(request);
        if (!answer.IsSuccessStatusCode) throw new IOException($"{method} {path}: {answer.Content.ReadAsStringAsync().Result}");
    }

    private static HttpClient Client(string api) => new(new SocketsHttpHandler
    {
        UseProxy = false,
        ConnectCallback = async (_, cancellation) =>
        {
            Socket connection = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await connection.ConnectAsync(new UnixDomainSocketEndPoint(api), cancellation);
            return new NetworkStream(connection, ownsSocket: true);
        },
    })
    { BaseAddress = new Uri("http://vmm") };
}
