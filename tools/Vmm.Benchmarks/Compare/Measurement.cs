using System.Text.Json.Serialization;

namespace Vmm.Benchmarks;

/// <summary>The result of one variant at one size.</summary>
/// <param name="Group">The comparison.</param>
/// <param name="N">The size.</param>
/// <param name="Variant">The contender.</param>
/// <param name="NsPerEvent">Median over the rounds.</param>
/// <param name="Ratio">To the median of the baseline, same group and n.</param>
/// <param name="BytesPerEvent">Managed bytes allocated by the whole process.</param>
internal sealed record Measurement(
    [property: JsonPropertyName("group")] string Group,
    [property: JsonPropertyName("n")] int N,
    [property: JsonPropertyName("variant")] string Variant,
    [property: JsonPropertyName("ns_per_event")] double NsPerEvent,
    [property: JsonPropertyName("ratio")] double Ratio,
    [property: JsonIgnore] double BytesPerEvent);
