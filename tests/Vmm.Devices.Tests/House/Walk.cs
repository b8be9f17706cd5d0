using System.Text.RegularExpressions;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;
using Vmm.Tests.House;

namespace Vmm.Devices.Tests.House;

/// <summary>A path through the sources as docs/architecture.md describes it: files in order, and in each the members to read.</summary>
/// <param name="Name">What goes the path.</param>
/// <param name="Steps">Its files, each with its members.</param>
internal sealed partial record Walk(string Name, IReadOnlyList<(string File, string[] Members)> Steps)
{
    private const int StepsMax = 4;

    /// <summary>The walks of a page: a bold name, then numbered lines that begin with a file.</summary>
    internal static IReadOnlyList<Walk> All(string page) =>
    [
        .. Begin().Split(page).Skip(1).Chunk(2).Select(walk => new Walk(walk[0], [.. Step().Matches(walk[1]).Select(step =>
            (step.Groups["file"].Value, Code().Matches(step.Groups["members"].Value).Select(each => each.Groups[1].Value).ToArray()))]))
            .Where(walk => walk.Steps.Count > 0),
    ];

    internal IEnumerable<string> Failures()
    {
        if (Steps.Count > StepsMax) yield return $"{Name}: {Steps.Count} steps; a walk has at most {StepsMax}";
        foreach ((string file, string[] members) in Steps)
        {
            if (!File.Exists(RepositoryTree.PathOf(file)))
            {
                yield return $"{Name}: {file} is not there";
                continue;
            }
            if (members.Length == 0) yield return $"{Name}: {file} names no member: say in brackets which to read";
            foreach (string gone in members.Except(Declared(file))) yield return $"{Name}: {file} has no '{gone}'";
        }
    }

    private static HashSet<string> Declared(string file)
    {
        CSharpParseOptions options = CSharpParseOptions.Default.WithLanguageVersion(LanguageVersion.Preview);
        return
        [
            .. CSharpSyntaxTree.ParseText(File.ReadAllText(RepositoryTree.PathOf(file)), options).GetRoot().DescendantNodes().Select(node => node switch
            {
                MethodDeclarationSyntax method => method.Identifier.Text,
                PropertyDeclarationSyntax property => property.Identifier.Text,
                BaseTypeDeclarationSyntax type => type.Identifier.Text,
                _ => "",
            }),
        ];
    }

    [GeneratedRegex(@"^\*\*(?<name>[^*]+)\.\*\*", RegexOptions.Multiline)]
    private static partial Regex Begin();

    [GeneratedRegex(@"^\d+\. `(?<file>[^`]+)`(?: \((?<members>[^)]*)\))?:", RegexOptions.Multiline)]
    private static partial Regex Step();

    [GeneratedRegex("`([^`]+)`")]
    private static partial Regex Code();
}
