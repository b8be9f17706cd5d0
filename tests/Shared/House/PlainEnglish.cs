using System.Text.RegularExpressions;

namespace Vmm.Tests.House;

/// <summary>The part of docs/style.md that a program can check: words that comments avoid, and the width of a line.</summary>
internal static partial class PlainEnglish
{
    internal const int ColumnsMax = 140;

    /// <summary>What is wrong with a file, one entry a line of it.</summary>
    internal static IEnumerable<string> Violations(string path, string text)
    {
        string[] lines = text.Split('\n');
        for (int i = 0; i < lines.Length; i++)
        {
            if (lines[i].TrimEnd('\r').Length > ColumnsMax) yield return $"{path}:{i + 1}: {lines[i].Length} columns; break the line at {ColumnsMax}";
            if (AvoidedWord(lines[i]) is { } word) yield return $"{path}:{i + 1}: the comment says '{word}'; docs/style.md has the word to use";
        }
    }

    /// <summary>The first word in the comment of a line that docs/style.md avoids; null if there is none.</summary>
    internal static string? AvoidedWord(string line) =>
        Comment().Match(line) is { Success: true } comment && Avoided().Match(comment.Value) is { Success: true } word ? word.Value : null;

    [GeneratedRegex(@"(?<!:)//.*$")]
    private static partial Regex Comment();

    [GeneratedRegex(@"\b(nobody|somebody|whoever|tells?|told|hears?|heard|owes?|owed)\b", RegexOptions.IgnoreCase)]
    private static partial Regex Avoided();
}
