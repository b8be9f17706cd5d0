using System.Text.RegularExpressions;

namespace Vmm.Tests.House;

/// <summary>
/// The part of docs/style.md that a program can check: words that comments, messages and pages avoid, and the width of a line of code.
/// </summary>
internal static partial class PlainEnglish
{
    internal const int ColumnsMax = 140;

    /// <summary>What is wrong with a file of code, one entry a line of it.</summary>
    internal static IEnumerable<string> Violations(string path, string text)
    {
        string[] lines = text.Split('\n');
        for (int i = 0; i < lines.Length; i++)
        {
            if (lines[i].TrimEnd('\r').Length > ColumnsMax) yield return $"{path}:{i + 1}: {lines[i].Length} columns; break the line at {ColumnsMax}";
            if (AvoidedWord(lines[i]) is { } word) yield return Violation(path, i, word);
        }
    }

    /// <summary>What is wrong with a page, one entry a line of it. What stands in a code span is the name of something.</summary>
    internal static IEnumerable<string> ViolationsOfPage(string path, string text)
    {
        string[] lines = text.Split('\n');
        for (int i = 0; i < lines.Length; i++)
        {
            if (Avoided().Match(CodeSpan().Replace(lines[i], "")) is { Success: true } word) yield return Violation(path, i, word.Value);
        }
    }

    /// <summary>The first word in the comment or the strings of a line that docs/style.md avoids; null if there is none.</summary>
    internal static string? AvoidedWord(string line) =>
        Prose().Matches(line).Select(prose => Avoided().Match(prose.Value)).FirstOrDefault(word => word.Success)?.Value;

    private static string Violation(string path, int line, string word) => $"{path}:{line + 1}: it says '{word}'; docs/style.md has the word to use";

    /// <summary>A string, or the comment that ends the line.</summary>
    [GeneratedRegex("""
        "(?:[^"\\]|\\.)*"|(?<!:)//.*$
        """)]
    private static partial Regex Prose();

    [GeneratedRegex("`[^`]*`")]
    private static partial Regex CodeSpan();

    [GeneratedRegex(@"\b(nobody|somebody|anybody|whoever|whomever|tells?|telling|told|hears?|hearing|heard|owes?|owed|owing|leads?|leading|led|ways?|people)\b",
        RegexOptions.IgnoreCase)]
    private static partial Regex Avoided();
}
