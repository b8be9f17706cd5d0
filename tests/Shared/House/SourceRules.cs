using System.Reflection;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace Vmm.Tests.House;

/// <summary>
/// What the design says of source text: where a P/Invoke and where unsafe code may stand, and that each place of it says why it is sound.
/// Read from the syntax tree, so a comment or a string that speaks of it is none.
/// </summary>
internal static class SourceRules
{
    private const string Safety = "SAFETY:";

    /// <summary>What starts a process: by itself, or for a test.</summary>
    private static readonly string[] Starters = ["Process", "ChildTest", "KernelHeaders", "TinyFileSystem"];

    /// <summary>Each P/Invoke outside a folder named Native, and each that is not a LibraryImport.</summary>
    internal static IEnumerable<string> MisplacedImports(string project) => InFilesOf(project, MisplacedImports);

    /// <summary>
    /// Each public member that takes an address as a number, which safe code could make up. One that takes a pointer can be called from
    /// unsafe code only.
    /// </summary>
    internal static IEnumerable<string> RawAddresses(Assembly library) =>
        RawAddresses(library.GetExportedTypes().Where(type => !typeof(Delegate).IsAssignableFrom(type)));

    /// <summary>Each member with unsafe code that has no comment to say why it is sound.</summary>
    internal static IEnumerable<string> Unexplained(string project) => InFilesOf(project, Unexplained);

    /// <summary>
    /// Each suite that starts a process beside other tests: until its exec the process holds their locks, and their pipes and sockets open.
    /// </summary>
    internal static IEnumerable<string> NotAlone(string tests) => InFilesOf(tests, NotAlone, "tests");

    /// <summary>Each class in a folder named Native whose instances do something: there stand calls and structures only.</summary>
    internal static IEnumerable<string> ObjectsAmongCalls(string project) => InFilesOf(project, ObjectsAmongCalls);

    internal static IEnumerable<string> ObjectsAmongCalls(string file, SyntaxNode root) =>
        !IsIn(file, "Native") ? [] :
        from type in root.DescendantNodes().OfType<ClassDeclarationSyntax>()
        where !type.Modifiers.Any(SyntaxKind.StaticKeyword)
        select At(file, type, $"{type.Identifier}: Native/ holds calls and structures, and an object stands with what uses it");

    internal static IEnumerable<string> MisplacedImports(string file, SyntaxNode root) =>
        from attribute in root.DescendantNodes().OfType<AttributeSyntax>()
        let name = attribute.Name.ToString().Split('.')[^1]
        where name is "DllImport" || (name is "LibraryImport" && !IsIn(file, "Native"))
        select At(file, attribute, $"{name}: a P/Invoke is a LibraryImport in Native/");

    internal static IEnumerable<string> RawAddresses(IEnumerable<Type> types) =>
        from type in types
        from member in type.GetMembers(BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly)
            .OfType<MethodBase>()
        where (member.IsPublic || member.IsFamily) && !member.IsSpecialName | member.IsConstructor
        from parameter in member.GetParameters()
        where parameter.ParameterType == typeof(nint) || parameter.ParameterType == typeof(nuint)
        where parameter.Name!.Contains("address", StringComparison.OrdinalIgnoreCase) || parameter.Name.Contains("pointer", StringComparison.OrdinalIgnoreCase)
        select $"{type.Name}.{member.Name}({parameter.Name})";

    internal static IEnumerable<string> Unexplained(string file, SyntaxNode root) =>
        from node in UnsafeIn(root)
        let member = node.FirstAncestorOrSelf<MemberDeclarationSyntax>(each => each is not BaseTypeDeclarationSyntax)
        where member is not null && !member.ToFullString().Contains(Safety, StringComparison.Ordinal)
        group node by member into unexplained
        select At(file, unexplained.First(), $"unsafe code without a '// {Safety}' comment");

    internal static IEnumerable<string> NotAlone(string file, SyntaxNode root) =>
        !root.DescendantNodes().Any(IsStart) ? [] :
        from suite in root.DescendantNodes().OfType<ClassDeclarationSyntax>()
        where suite.Modifiers.Any(SyntaxKind.PublicKeyword) && !suite.Modifiers.Any(SyntaxKind.AbstractKeyword)
        where !suite.AttributeLists.ToString().Contains("Collection(Alone.Name)", StringComparison.Ordinal)
        select At(file, suite, $"{suite.Identifier}: tests that start processes are in [Collection(Alone.Name)]");

    private static bool IsStart(SyntaxNode node) => node switch
    {
        InvocationExpressionSyntax { Expression: MemberAccessExpressionSyntax { Name.Identifier.Text: "Start" or "Run" or "Evaluate" } call } =>
            Starters.Contains(call.Expression.ToString().Split('.')[^1]),
        ObjectCreationExpressionSyntax made => Starters.Contains(made.Type.ToString()),
        VariableDeclarationSyntax variable => Starters.Contains(variable.Type.ToString()),
        _ => false,
    };

    /// <summary>What follows a pointer or makes one. A pointer that is only kept or passed on is judged where it is followed.</summary>
    private static IEnumerable<SyntaxNode> UnsafeIn(SyntaxNode root) => root.DescendantNodes().Where(IsUnsafe);

    private static bool IsUnsafe(SyntaxNode node) => node switch
    {
        UnsafeStatementSyntax or FixedStatementSyntax => true,
        PrefixUnaryExpressionSyntax unary => unary.IsKind(SyntaxKind.AddressOfExpression) || unary.IsKind(SyntaxKind.PointerIndirectionExpression),
        MemberAccessExpressionSyntax access => access.IsKind(SyntaxKind.PointerMemberAccessExpression)
            || access.Expression.ToString() is "Unsafe" && access.Name.Identifier.Text is not "SizeOf" || IsRawSpan(access),
        _ => false,
    };

    /// <summary>The members of MemoryMarshal that trust their caller with a length or a lifetime.</summary>
    private static bool IsRawSpan(MemberAccessExpressionSyntax access) =>
        access.Expression.ToString() is "MemoryMarshal" && access.Name.Identifier.Text is "CreateSpan" or "CreateReadOnlySpan" or "GetReference";

    private static bool IsIn(string file, params string[] folders) =>
        folders.Any(folder => file.StartsWith(folder + "/", StringComparison.Ordinal));

    private static IEnumerable<string> InFilesOf(string project, Func<string, SyntaxNode, IEnumerable<string>> rule, string top = "src")
    {
        CSharpParseOptions options = CSharpParseOptions.Default.WithLanguageVersion(LanguageVersion.Preview);
        return from source in RepositoryTree.SourcesBelow(RepositoryTree.PathOf(top, project))
               from violation in rule(source.Relative, CSharpSyntaxTree.ParseText(source.Text, options).GetRoot())
               select $"{project}/{violation}";
    }

    private static string At(string file, SyntaxNode node, string what) => $"{file}:{node.GetLocation().GetLineSpan().StartLinePosition.Line + 1}: {what}";
}
