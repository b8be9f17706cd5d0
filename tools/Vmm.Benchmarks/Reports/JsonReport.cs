using System.Text.Json;

namespace Vmm.Benchmarks;

/// <summary>The measurements as a list of <c>{group, n, variant, ns_per_event, ratio}</c>.</summary>
internal static class JsonReport
{
    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    internal static void Write(string path, IReadOnlyList<Measurement> measurements) =>
        File.WriteAllText(path, JsonSerializer.Serialize(measurements, Indented) + "\n");
}
