using System.Collections.Concurrent;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace Vmm.Tests.House;

/// <summary>The sources of a library as the compiler sees them, read once for all rules. Source generators do not run.</summary>
internal static class LibrarySources
{
    private static readonly string[] ImplicitUsings =
    [
        "System", "System.Collections.Generic", "System.IO", "System.Linq", "System.Net.Http", "System.Threading", "System.Threading.Tasks",
    ];

    private static readonly ConcurrentDictionary<string, Lazy<CSharpCompilation>> Libraries = new();

    /// <summary>All that this program refers to, read once.</summary>
    private static readonly Lazy<PortableExecutableReference[]> References = new(() =>
        [.. ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(':').Select(path => MetadataReference.CreateFromFile(path))]);

    /// <summary>A project of <c>src</c>; each file is known by its path below the project's folder.</summary>
    internal static CSharpCompilation Of(string project) =>
        Libraries.GetOrAdd(project, _ => new(() => Compile(project, RepositoryTree.SourcesBelow(RepositoryTree.PathOf("src", project))))).Value;

    internal static CSharpCompilation Compile(string name, IEnumerable<(string Relative, string Text)> sources)
    {
        CSharpParseOptions options = CSharpParseOptions.Default.WithLanguageVersion(LanguageVersion.Preview);
        string usings = string.Concat(ImplicitUsings.Select(each => $"global using {each};\n"));
        SyntaxTree implicitUsings = CSharpSyntaxTree.ParseText(usings, options, "usings.cs");
        IEnumerable<SyntaxTree> trees = sources.Select(each => CSharpSyntaxTree.ParseText(each.Text, options, each.Relative));
        // The library itself is compiled here: its assembly would be a second definition of each type.
        IEnumerable<MetadataReference> references = References.Value.Where(each => Path.GetFileNameWithoutExtension(each.FilePath) != name);
        return CSharpCompilation.Create(name, [implicitUsings, .. trees], references, new CSharpCompilationOptions(
            OutputKind.DynamicallyLinkedLibrary, allowUnsafe: true, nullableContextOptions: NullableContextOptions.Enable));
    }
}
