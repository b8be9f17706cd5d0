using System.Text.Json.Serialization;

namespace Vmm.Tool;

/// <summary>One entry of a file for Prometheus's <c>file_sd_configs</c>.</summary>
internal sealed record TargetGroup
{
    [JsonPropertyName("targets")]
    public required IReadOnlyList<string> Targets { get; init; }

    [JsonPropertyName("labels")]
    public required TargetLabels Labels { get; init; }
}

/// <summary>What is said of it.</summary>
internal sealed record TargetLabels
{
    /// <summary>How it is scraped; Prometheus takes it off.</summary>
    [JsonPropertyName("__scheme__")]
    public required string Scheme { get; init; }

    /// <summary>The name of its socket, without what all of them end with.</summary>
    [JsonPropertyName("vmm")]
    public required string Vmm { get; init; }

    /// <summary>What was started: serve, run or boot.</summary>
    [JsonPropertyName("kind")]
    public required string Kind { get; init; }
}

/// <summary>Writes them without reflection.</summary>
[JsonSourceGenerationOptions(WriteIndented = true)]
[JsonSerializable(typeof(List<TargetGroup>))]
internal sealed partial class DiscoverJson : JsonSerializerContext;
