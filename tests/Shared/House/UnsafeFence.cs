using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace Vmm.Tests.House;

/// <summary>
/// What can follow, make or keep a raw address, wherever it stands outside of the folders that may. Judged by symbols, so an alias, a full
/// name or a
/// <c>using static</c> is no way around it.
/// </summary>
internal static class UnsafeFence
{
    /// <summary>The types that trust their caller with addresses, lengths or lifetimes, and the members of them that do not.</summary>
    private static readonly Dictionary<string, string[]> Trusting = new(StringComparer.Ordinal)
    {
        ["System.Runtime.CompilerServices.Unsafe"] = ["SizeOf"],
        ["System.Runtime.InteropServices.Marshal"] =
            ["SizeOf", "OffsetOf", "GetLastPInvokeError", "GetLastSystemError", "SetLastPInvokeError", "SetLastSystemError", "GetPInvokeErrorMessage"],
        ["System.Runtime.InteropServices.MemoryMarshal"] =
            ["AsBytes", "Cast", "Read", "TryRead", "Write", "TryWrite", "AsRef", "TryGetArray", "TryGetString", "ToEnumerable"],
        ["System.Runtime.InteropServices.CollectionsMarshal"] = ["AsSpan", "GetValueRefOrAddDefault", "GetValueRefOrNullRef"],
        ["System.Runtime.InteropServices.NativeMemory"] = [],
        ["System.Runtime.InteropServices.NativeLibrary"] = [],
        ["System.Runtime.InteropServices.GCHandle"] = [],
        ["System.Runtime.InteropServices.PinnedGCHandle"] = [],
        ["System.Runtime.InteropServices.GCHandleExtensions"] = [],
        ["System.Runtime.InteropServices.SafeBuffer"] = [],
        ["System.Buffers.MemoryHandle"] = ["Dispose"],
        ["System.Runtime.CompilerServices.RuntimeHelpers"] = ["IsReferenceOrContainsReferences", "GetHashCode", "RunClassConstructor", "EnsureSufficientExecutionStack"],
    };

    /// <summary>Each breach in a project of <c>src</c>.</summary>
    /// <param name="project">Its name.</param>
    /// <param name="folders">Where unsafe code may stand: folders, and single files by their path.</param>
    internal static IEnumerable<string> Breaches(string project, params string[] folders)
    {
        CSharpCompilation compilation = LibrarySources.Of(project);
        return compilation.SyntaxTrees.SelectMany(tree => Breaches(compilation, tree, folders)).Select(breach => $"{project}/{breach}");
    }

    /// <summary>Each breach in one file, for tests of the rule.</summary>
    internal static IEnumerable<string> BreachesIn(string file, string text, params string[] folders)
    {
        CSharpCompilation compilation = LibrarySources.Compile("Rule", [(file, text)]);
        return Breaches(compilation, compilation.SyntaxTrees.First(tree => tree.FilePath == file), folders);
    }

    private static IEnumerable<string> Breaches(CSharpCompilation compilation, SyntaxTree tree, string[] folders)
    {
        if (folders.Any(folder => tree.FilePath == folder || tree.FilePath.StartsWith(folder + "/", StringComparison.Ordinal))) yield break;
        SemanticModel model = compilation.GetSemanticModel(tree);
        // What does not resolve here is not judged: a rule that sees nothing must not look like one that found nothing.
        foreach (Diagnostic unresolved in model.GetDiagnostics().Where(each => each.Severity == DiagnosticSeverity.Error && !IsGenerated(each)))
            yield return $"{unresolved.Location.GetLineSpan()}: the rule cannot read this: {unresolved.GetMessage(System.Globalization.CultureInfo.InvariantCulture)}";
        foreach (SyntaxNode node in tree.GetRoot().DescendantNodes())
        {
            if (What(node, model) is { } what) yield return $"{tree.FilePath}:{node.GetLocation().GetLineSpan().StartLinePosition.Line + 1}: {what}";
        }
    }

    private static string? What(SyntaxNode node, SemanticModel model) => node switch
    {
        FunctionPointerTypeSyntax => "a function pointer",
        PointerTypeSyntax => "a pointer",
        UnsafeStatementSyntax => "unsafe code",
        MemberDeclarationSyntax member when member.Modifiers.Any(SyntaxKind.UnsafeKeyword) => "unsafe code",
        LocalFunctionStatementSyntax local when local.Modifiers.Any(SyntaxKind.UnsafeKeyword) => "unsafe code",
        SimpleNameSyntax name => WhatOf(model.GetSymbolInfo(name)),
        _ => null,
    };

    private static string? WhatOf(SymbolInfo info)
    {
        ISymbol? symbol = info.Symbol ?? info.CandidateSymbols.FirstOrDefault();
        if (symbol is not (IMethodSymbol or IPropertySymbol or IFieldSymbol) || symbol.ContainingType is not { } type) return null;
        if (symbol.Name is "LoadUnsafe" or "StoreUnsafe") return $"{type.Name}.{symbol.Name}";
        for (INamedTypeSymbol? each = type; each is not null; each = each.BaseType)
        {
            if (Trusting.TryGetValue(FullName(each), out string[]? harmless)) return harmless.Contains(symbol.Name) ? null : $"{each.Name}.{symbol.Name}";
        }
        return null;
    }

    private static string FullName(INamedTypeSymbol type) => $"{type.ContainingNamespace.ToDisplayString()}.{type.Name}";

    /// <summary>
    /// The source generators of P/Invokes and of handlers do not run here: a method of theirs has no body, and a call of it gives its
    /// <c>out</c> arguments no value.
    /// </summary>
    private static bool IsGenerated(Diagnostic diagnostic) => diagnostic.Id is "CS8795" or "CS0165";
}
