using System.Diagnostics.Metrics;
using System.Globalization;
using System.Text;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>
/// Measurements in the text format of Prometheus: whatever the meters of Vmm observe, and the latency of disks. Everything is read on the
/// thread that collects: reactors do not notice.
/// </summary>
internal sealed class PrometheusText : IDisposable
{
    internal const string ContentType = "text/plain; version=0.0.4; charset=utf-8";

    private const string Meters = "Vmm.";
    private const string Latency = "vmm_disk_request_duration_seconds";

    private static readonly string[] Bounds = [.. LatencyBuckets.BoundsSeconds.Select(Text), "+Inf"];

    private readonly Lock _lock = new();
    private readonly ControlledMachine _machine;
    private readonly MeterListener _listener = new();
    private readonly Dictionary<Instrument, StringBuilder> _series = [];

    internal PrometheusText(ControlledMachine machine)
    {
        _machine = machine;
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            // The others are written while reactors work, and only if a listener asks for it.
            if (instrument.IsObservable && instrument.Meter.Name.StartsWith(Meters, StringComparison.Ordinal))
                listener.EnableMeasurementEvents(instrument);
        };
        _listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) =>
            Add(instrument, value.ToString(CultureInfo.InvariantCulture), tags));
        _listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) => Add(instrument, Text(value), tags));
    }

    /// <summary>What is measured now. One collection at a time.</summary>
    internal byte[] Collect()
    {
        lock (_lock)
        {
            _listener.Start();
            _series.Clear();
            _listener.RecordObservableInstruments();
            StringBuilder text = new();
            foreach ((Instrument instrument, StringBuilder series) in _series.OrderBy(each => each.Key.Name, StringComparer.Ordinal))
            {
                string name = NameOf(instrument);
                text.Append("# HELP ").Append(name).Append(' ').Append(instrument.Description).Append('\n');
                text.Append("# TYPE ").Append(name).Append(IsCounter(instrument) ? " counter\n" : " gauge\n").Append(series);
            }
            AddLatencies(text);
            return Encoding.UTF8.GetBytes(text.ToString());
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _listener.Dispose();

    private void AddLatencies(StringBuilder text)
    {
        text.Append("# HELP ").Append(Latency).Append(" Time from taking a disk's request to giving it back.\n");
        text.Append("# TYPE ").Append(Latency).Append(" histogram\n");
        foreach (ControlledDevice controlled in _machine.Devices)
        {
            if (controlled.Device is not BlockDevice { MeasureLatency: true } disk) continue;
            for (int kind = 0; kind < disk.RequestKinds.Count; kind++) AddLatency(text, disk, kind);
        }
    }

    /// <summary>Adds a kind of which there were any.</summary>
    private static void AddLatency(StringBuilder text, BlockDevice disk, int kind)
    {
        Span<long> buckets = stackalloc long[LatencyBuckets.Count];
        if (LatencyBuckets.Read(disk, kind, buckets) is not { } nanoseconds) return;
        long below = 0;
        string labels = $"{{device=\"{Escaped(disk.Name)}\",kind=\"{disk.RequestKinds[kind]}\"";
        for (int i = 0; i < buckets.Length; i++)
        {
            below += buckets[i];
            text.Append(Latency).Append("_bucket").Append(labels).Append(",le=\"").Append(Bounds[i]).Append("\"} ").Append(below)
                .Append('\n');
        }
        text.Append(Latency).Append("_sum").Append(labels).Append("} ").Append(Text(nanoseconds / 1e9)).Append('\n');
        text.Append(Latency).Append("_count").Append(labels).Append("} ").Append(below).Append('\n');
    }

    private void Add(Instrument instrument, string value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        if (!_series.TryGetValue(instrument, out StringBuilder? series)) _series[instrument] = series = new StringBuilder();
        series.Append(NameOf(instrument));
        for (int i = 0; i < tags.Length; i++)
        {
            series.Append(i == 0 ? '{' : ',').Append(tags[i].Key).Append("=\"").Append(Escaped($"{tags[i].Value}")).Append('"');
        }
        if (tags.Length > 0) series.Append('}');
        series.Append(' ').Append(value).Append('\n');
    }

    /// <summary>As OpenTelemetry translates names: dots become underscores, and the unit and what is counted stand at the end.</summary>
    internal static string NameOf(Instrument instrument)
    {
        string unit = instrument.Unit switch { "s" => "_seconds", "By" => "_bytes", _ => "" };
        return instrument.Name.Replace('.', '_') + unit + (IsCounter(instrument) ? "_total" : "");
    }

    private static bool IsCounter(Instrument instrument) => instrument is ObservableCounter<long> or ObservableCounter<double>;

    private static string Escaped(string label) => label.AsSpan().IndexOfAny("\\\"\n") < 0 ? label
        : label.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal)
            .Replace("\n", "\\n", StringComparison.Ordinal);

    private static string Text(double value) => value.ToString("R", CultureInfo.InvariantCulture);
}
