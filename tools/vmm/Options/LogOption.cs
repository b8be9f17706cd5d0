namespace Vmm.Tool;

/// <summary><c>--log</c>: how standard error is written.</summary>
internal static class LogOption
{
    internal static ChoiceOption Create() => new("--log",
        "How messages are written on standard error: in sentences, or as one JSON object a line for programs.",
        standard: "text", "text", "json");

    /// <summary>Does what was asked for.</summary>
    internal static void Apply(string? format) => StandardError.Take(asJson: format == "json");
}
