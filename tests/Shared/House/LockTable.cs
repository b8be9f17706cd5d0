using System.Text.RegularExpressions;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace Vmm.Tests.House;

/// <summary>The table of docs/architecture.md that says what each lock of the libraries guards.</summary>
internal static partial class LockTable
{
    private const string Heading = "| lock | guards |";

    /// <summary>Locks that the page lacks, and rows whose lock is gone.</summary>
    internal static IEnumerable<string> Differences(string page, params IEnumerable<CSharpCompilation> libraries)
    {
        HashSet<string> listed = [.. Rows(page)];
        HashSet<string> taken = [.. libraries.SelectMany(Locks)];
        return taken.Except(listed).Order().Select(name => $"docs/architecture.md does not say what the lock {name} guards")
            .Concat(listed.Except(taken).Order().Select(name => $"docs/architecture.md lists the lock {name}, which no source takes"));
    }

    private static IEnumerable<string> Rows(string page) =>
        page.Split('\n').SkipWhile(line => !line.StartsWith(Heading, StringComparison.Ordinal)).TakeWhile(line => line.StartsWith('|'))
            .SelectMany(row => Name().Matches(row.Split('|')[1])).Select(name => name.Groups["lock"].Value);

    /// <summary>What a <c>lock</c> statement takes, and every field that is a <see cref="Lock"/>.</summary>
    private static IEnumerable<string> Locks(CSharpCompilation library) =>
        from tree in library.SyntaxTrees
        let model = library.GetSemanticModel(tree)
        from node in tree.GetRoot().DescendantNodes()
        let taken = node switch
        {
            LockStatementSyntax statement => NameOf(statement.Expression, model),
            FieldDeclarationSyntax { Declaration: { Type: IdentifierNameSyntax { Identifier.Text: "Lock" } } field } =>
                NameOf(model.GetDeclaredSymbol(field.Variables[0])!),
            _ => null,
        }
        where taken is not null
        select taken;

    private static string NameOf(ExpressionSyntax taken, SemanticModel model) =>
        model.GetSymbolInfo(taken).Symbol is { ContainingType: not null } symbol ? NameOf(symbol) : $"'{taken}' of {taken.SyntaxTree.FilePath}";

    private static string NameOf(ISymbol symbol) => $"{symbol.ContainingType.Name}.{symbol.Name}";

    [GeneratedRegex("`(?<lock>[^`]+)`")]
    private static partial Regex Name();
}
