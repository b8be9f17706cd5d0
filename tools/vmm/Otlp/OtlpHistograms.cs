using System.Buffers.Binary;
using System.Net.Http.Headers;
using OpenTelemetry.Resources;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>
/// Adds the latency of disks to what the exporter sends: the disks have their histograms already, and an instrument of .NET would be called
/// for each request. The fields of a protobuf message may come in any order, so another <c>resource_metrics</c> behind the others is one
/// message with them (opentelemetry/proto/metrics/v1/metrics.proto).
/// </summary>
/// <param name="devices">The devices now. Any thread.</param>
/// <param name="resource">Who sends.</param>
internal sealed class OtlpHistograms(Func<IEnumerable<VirtioDevice>> devices, Resource resource)
    : DelegatingHandler(new SocketsHttpHandler())
{
    private const string Name = "vmm.disk.request.duration", Scope = "Vmm.Devices", Grpc = "application/grpc";

    /// <summary>Before a message of gRPC: whether it is compressed, and its length.</summary>
    private const int GrpcHeadBytes = 5;

    /// <summary>Numbers of fields of messages of metrics.proto, resource.proto and common.proto.</summary>
    private const int ResourceMetrics = 1, ResourceOf = 1, ScopeMetrics = 2, Attributes = 1, Key = 1, Value = 2, StringValue = 1,
        ScopeOf = 1, ScopeName = 1, Metrics = 2, MetricName = 1, Description = 2, Unit = 3, Histogram = 9, DataPoints = 1, Temporality = 2,
        StartTime = 2, Time = 3, Count = 4, Sum = 5, Buckets = 6, Bounds = 7, PointAttributes = 9;

    private const ulong Cumulative = 2;

    private readonly ulong _start = Now;

    private static ulong Now => (ulong)(DateTimeOffset.UtcNow - DateTimeOffset.UnixEpoch).Ticks * 100;

    /// <inheritdoc/>
    protected override HttpResponseMessage Send(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        AddTo(request);
        return base.Send(request, cancellationToken);
    }

    /// <inheritdoc/>
    protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        AddTo(request);
        return base.SendAsync(request, cancellationToken);
    }

    private void AddTo(HttpRequestMessage request)
    {
        if (request.Content is not { } content || Encode() is not { } more) return;
        using MemoryStream body = new();
        content.CopyTo(body, null, CancellationToken.None);
        body.Write(more);
        MediaTypeHeaderValue? type = content.Headers.ContentType;
        byte[] whole = body.ToArray();
        if (type?.MediaType == Grpc && whole.Length > GrpcHeadBytes)
            BinaryPrimitives.WriteUInt32BigEndian(whole.AsSpan(1), (uint)(whole.Length - GrpcHeadBytes));
        request.Content = new ByteArrayContent(whole) { Headers = { ContentType = type } };
        content.Dispose();
    }

    /// <summary>The histograms of all disks as one field of the exporter's message; null if no disk has done anything.</summary>
    private byte[]? Encode()
    {
        ProtobufWriter histogram = new();
        long[] buckets = new long[LatencyBuckets.Count];
        ulong now = Now;
        bool any = false;
        foreach (BlockDevice disk in devices().OfType<BlockDevice>().Where(disk => disk.MeasureLatency))
        {
            for (int kind = 0; kind < disk.RequestKinds.Count; kind++)
            {
                if (LatencyBuckets.Read(disk, kind, buckets) is not { } nanoseconds) continue;
                any = true;
                histogram.Add(DataPoints, new ProtobufWriter()
                    .AddFixed(StartTime, _start).AddFixed(Time, now).AddFixed(Count, (ulong)buckets.Sum())
                    .AddFixed(Sum, (ulong)BitConverter.DoubleToInt64Bits(nanoseconds / 1e9))
                    .AddFixed(Buckets, buckets)
                    .AddFixed(Bounds, [.. LatencyBuckets.BoundsSeconds.Select(BitConverter.DoubleToInt64Bits)])
                    .Add(PointAttributes, Pair("device", disk.Name)).Add(PointAttributes, Pair("kind", disk.RequestKinds[kind])));
            }
        }
        if (!any) return null;
        histogram.Add(Temporality, Cumulative);
        ProtobufWriter sender = new();
        foreach ((string key, object value) in resource.Attributes) sender.Add(Attributes, Pair(key, $"{value}"));
        ProtobufWriter metric = new ProtobufWriter().Add(MetricName, Name)
            .Add(Description, "Time from taking a disk's request to giving it back.").Add(Unit, "s").Add(Histogram, histogram);
        ProtobufWriter scope = new ProtobufWriter().Add(ScopeOf, new ProtobufWriter().Add(ScopeName, Scope)).Add(Metrics, metric);
        return new ProtobufWriter()
            .Add(ResourceMetrics, new ProtobufWriter().Add(ResourceOf, sender).Add(ScopeMetrics, scope)).Bytes.ToArray();
    }

    private static ProtobufWriter Pair(string key, string value) =>
        new ProtobufWriter().Add(Key, key).Add(Value, new ProtobufWriter().Add(StringValue, value));
}
