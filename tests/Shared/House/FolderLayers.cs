using System.Text.RegularExpressions;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace Vmm.Tests.House;

/// <summary>
/// The tables of docs/architecture.md that say which folder of a library may name the types of which other. A row names rows above it only;
/// an entry that does not has the number of a reason (¹).
/// </summary>
internal static partial class FolderLayers
{
    private sealed record Row(string Folder, IReadOnlyDictionary<string, bool> MayName);

    /// <summary>Where the table and the sources differ, and where the table differs from its own rule.</summary>
    internal static IEnumerable<string> Differences(string project)
    {
        IReadOnlyList<Row> rows = Table(File.ReadAllText(RepositoryTree.PathOf("docs", "architecture.md")), project);
        return OutOfOrder(rows).Concat(Misuses(rows, Uses(project, [.. rows.Select(row => row.Folder)])));
    }

    /// <summary>Entries that name a row below without a reason, for tests of the rule.</summary>
    internal static IEnumerable<string> OutOfOrder(string page, string project) => OutOfOrder(Table(page, project));

    private static IEnumerable<string> OutOfOrder(IReadOnlyList<Row> rows)
    {
        HashSet<string> above = [];
        foreach (Row row in rows)
        {
            foreach ((string other, bool hasReason) in row.MayName)
            {
                if (!hasReason && !above.Contains(other)) yield return $"the row of '{row.Folder}' names '{other}', which is not above it";
            }
            above.Add(row.Folder);
        }
    }

    private static IEnumerable<string> Misuses(IReadOnlyList<Row> rows, ILookup<string, (string Folder, string Place)> uses)
    {
        foreach (Row row in rows)
        {
            foreach (IGrouping<string, (string Folder, string Place)> used in uses[row.Folder].GroupBy(use => use.Folder))
            {
                if (!row.MayName.ContainsKey(used.Key))
                {
                    string places = string.Join(", ", used.Select(use => use.Place).Take(5));
                    yield return $"'{row.Folder}' names '{used.Key}', which its row does not list: {places}";
                }
            }
            foreach (string listed in row.MayName.Keys.Except(uses[row.Folder].Select(use => use.Folder)))
                yield return $"the row of '{row.Folder}' lists '{listed}', which it does not name";
        }
    }

    /// <summary>For each folder the folders whose types it names, with one place for each file and type.</summary>
    private static ILookup<string, (string Folder, string Place)> Uses(string project, string[] folders)
    {
        CSharpCompilation compilation = LibrarySources.Of(project);
        HashSet<(string From, string To, string Place)> uses = [];
        foreach (SyntaxTree tree in compilation.SyntaxTrees)
        {
            if (FolderOf(tree.FilePath, folders) is not { } from) continue;
            SemanticModel model = compilation.GetSemanticModel(tree);
            foreach (SimpleNameSyntax name in tree.GetRoot().DescendantNodes().OfType<SimpleNameSyntax>())
            {
                if (model.GetSymbolInfo(name).Symbol is not INamedTypeSymbol { DeclaringSyntaxReferences.Length: > 0 } type) continue;
                if (FolderOf(FileOf(type), folders) is { } to && to != from) uses.Add((from, to, $"{tree.FilePath} {type.Name}"));
            }
        }
        return uses.ToLookup(use => use.From, use => (use.To, use.Place));
    }

    /// <summary>The file of a type; of one in several files the one that has its name.</summary>
    private static string FileOf(INamedTypeSymbol type)
    {
        string[] files = [.. type.DeclaringSyntaxReferences.Select(each => each.SyntaxTree.FilePath)];
        return files.FirstOrDefault(file => file.EndsWith($"/{type.Name}.cs", StringComparison.Ordinal)) ?? files[0];
    }

    /// <summary>The row a file belongs to: the longest folder that its path begins with.</summary>
    private static string? FolderOf(string path, string[] folders) =>
        folders.Where(folder => path.StartsWith(folder + "/", StringComparison.Ordinal)).MaxBy(folder => folder.Length);

    private static Row[] Table(string page, string project)
    {
        string table = page[page.IndexOf($"### Folders of `src/{project}`", StringComparison.Ordinal)..];
        return
        [
            .. table.Split('\n').SkipWhile(line => !line.StartsWith('|')).TakeWhile(line => line.StartsWith('|')).Skip(2)
                .Select(line => line.Split('|'))
                .Select(cells => new Row(Entry().Match(cells[1]).Groups["folder"].Value,
                    Entry().Matches(cells[3]).ToDictionary(each => each.Groups["folder"].Value, each => each.Groups["reason"].Length > 0))),
        ];
    }

    [GeneratedRegex("`(?<folder>[^`]+)`(?<reason>[¹²³⁴-⁹]?)")]
    private static partial Regex Entry();
}
