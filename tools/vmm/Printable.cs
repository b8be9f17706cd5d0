namespace Vmm.Tool;

/// <summary>What was typed is part of many sentences: it must not move the cursor, nor look like a second line.</summary>
internal static class Printable
{
    private const string Escape = "?";

    internal static string Of(string text) => text.Any(char.IsControl)
        ? string.Concat(text.Select(letter => char.IsControl(letter) ? Escape : letter.ToString())) : text;
}
