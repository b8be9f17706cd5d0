using System.CommandLine;
using OpenTelemetry;
using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>
/// Sends measurements, and spans of slow requests, to a collector by OTLP, if OpenTelemetry's standard variables name one
/// (<c>OTEL_EXPORTER_OTLP_ENDPOINT</c> and others). Otherwise nothing of it is loaded.
/// </summary>
internal static class OtlpPush
{
    private const string ServiceName = "OTEL_SERVICE_NAME", Attributes = "OTEL_RESOURCE_ATTRIBUTES";
    private const int StandardPort = 4317, StandardHttpPort = 4318;

    private static readonly string[] Endpoints =
        ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

    /// <summary>What finds a collector by its name, and certifies it.</summary>
    private static readonly string[] Files = ["/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf",
        "/run/systemd/resolve", "/etc/ssl", "/usr/lib/ssl"];

    /// <summary><c>--slow-ms</c>.</summary>
    internal static NumberOption SlowOption() => new("--slow-ms", "N",
        "Requests that take longer become spans, where OTEL_EXPORTER_OTLP_ENDPOINT names a collector; milliseconds",
        1, 60_000, standard: 100);

    /// <summary>What a device's requests may take before they become spans; zero without a collector.</summary>
    internal static TimeSpan SlowAfter(NumberOption option, ParseResult parsed) =>
        IsWanted ? TimeSpan.FromMilliseconds(option.In(parsed)) : TimeSpan.Zero;

    /// <summary>Whether a collector is named.</summary>
    internal static bool IsWanted => Endpoints.Any(name => Value(name) is not null)
        && !string.Equals(Value("OTEL_SDK_DISABLED"), "true", StringComparison.OrdinalIgnoreCase);

    /// <summary>What of the host it opens.</summary>
    internal static IEnumerable<HostAccess> HostAccesses()
    {
        if (!IsWanted) yield break;
        foreach (string name in Endpoints)
        {
            if (Value(name) is not { } text) continue;
            int port = Uri.TryCreate(text, UriKind.Absolute, out Uri? address) ? address.Port
                : Value("OTEL_EXPORTER_OTLP_PROTOCOL") == "grpc" ? StandardPort : StandardHttpPort;
            yield return new HostAccess(HostAccessKind.ConnectTcp, Port: port);
        }
        yield return new HostAccess(HostAccessKind.Connect);
        foreach (string file in Files) yield return new HostAccess(HostAccessKind.Read, file);
        yield return new HostAccess(HostAccessKind.Libraries);
    }

    /// <summary>Begins to send, if a collector is named. What is left is sent when this is disposed.</summary>
    /// <param name="devices">The devices now. Any thread.</param>
    internal static IDisposable? TryStart(Func<IEnumerable<VirtioDevice>> devices) => IsWanted ? Providers.Start(devices) : null;

    private static string? Value(string name) => Environment.GetEnvironmentVariable(name) is { Length: > 0 } value ? value : null;

    private sealed class Providers(MeterProvider meters, TracerProvider tracers) : IDisposable
    {
        private const string Names = "Vmm.*";

        internal static Providers Start(Func<IEnumerable<VirtioDevice>> devices)
        {
            ResourceBuilder resource = ResourceBuilder.CreateDefault();
            if (Value(ServiceName) is null && Value(Attributes)?.Contains("service.name", StringComparison.Ordinal) is not true)
                resource.AddService("vmm", serviceVersion: ToolVersion.Text);
            return new Providers(
                Sdk.CreateMeterProviderBuilder().SetResourceBuilder(resource).AddMeter(Names)
                    .AddOtlpExporter(options => AddHistograms(options, devices, resource.Build())).Build(),
                Sdk.CreateTracerProviderBuilder().SetResourceBuilder(resource).AddSource(Names).AddOtlpExporter().Build());
        }

        private static void AddHistograms(OtlpExporterOptions options, Func<IEnumerable<VirtioDevice>> devices, Resource resource) =>
            options.HttpClientFactory = () => new HttpClient(new OtlpHistograms(devices, resource))
            {
                Timeout = TimeSpan.FromMilliseconds(options.TimeoutMilliseconds),
            };

        public void Dispose()
        {
            meters.Dispose();
            tracers.Dispose();
        }
    }
}
