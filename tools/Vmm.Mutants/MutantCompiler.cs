using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;
using Microsoft.CodeAnalysis.Diagnostics;
using Microsoft.CodeAnalysis.Emit;

namespace Vmm.Mutants;

/// <summary>
/// Compiles a project with all mutants in it. What does not compile with them is tried again without the mutants at fault.
/// </summary>
internal sealed class MutantCompiler
{
    private const int RoundsMax = 40;

    /// <summary>The switch. Every mutant is off until its number is set; while none is on, it remembers which were asked for.</summary>
    private const string Switch = """
        internal static class VmmMutant
        {
            internal static int Active;
            internal static readonly byte[] Hits = new byte[65536];

            internal static bool Is(int id)
            {
                int active = Active;
                if (active == 0) Hits[id] = 1;
                return active == id;
            }
        }
        """;

    private readonly CSharpParseOptions _options = CSharpParseOptions.Default.WithLanguageVersion(LanguageVersion.Preview);
    private readonly CSharpCompilation _plain;
    private readonly HashSet<string> _mutated;

    /// <param name="name">The assembly.</param>
    /// <param name="sources">Its files: path relative to the project, and text.</param>
    /// <param name="mutated">The files that get mutants.</param>
    /// <param name="references">Paths of assemblies.</param>
    /// <param name="generators">Paths of the assemblies with the source generators that the project uses.</param>
    internal MutantCompiler(
        string name, IEnumerable<(string Path,
            string Text)> sources, IEnumerable<string> mutated, IEnumerable<string> references, IEnumerable<string> generators)
    {
        _mutated = [.. mutated];
        CSharpCompilation bare = CSharpCompilation.Create(
            name,
            sources.Append(("VmmMutant.cs", Switch)).Select(each => CSharpSyntaxTree.ParseText(each.Item2, _options, each.Item1)),
            references.Select(path => MetadataReference.CreateFromFile(path)),
            new CSharpCompilationOptions(OutputKind.DynamicallyLinkedLibrary,
                optimizationLevel: OptimizationLevel.Release, allowUnsafe: true,
                nullableContextOptions: NullableContextOptions.Enable, deterministic: true));
        ISourceGenerator[] all =
            [.. generators.SelectMany(path => new AnalyzerFileReference(path, Loader.Instance).GetGenerators(LanguageNames.CSharp))];
        CSharpGeneratorDriver.Create(all, parseOptions: _options).RunGeneratorsAndUpdateCompilation(bare, out Compilation generated, out _);
        _plain = (CSharpCompilation)generated;
    }

    /// <summary>Writes the assembly.</summary>
    /// <param name="output">Where to.</param>
    /// <returns>The mutants in it.</returns>
    internal IReadOnlyList<Mutant> Compile(string output)
    {
        HashSet<string> left = [];
        for (int round = 0; round < RoundsMax; round++)
        {
            List<Mutant> mutants = [];
            Dictionary<int, string> places = [];
            CSharpCompilation compilation = _plain;
            foreach (SyntaxTree tree in _plain.SyntaxTrees.Where(tree => _mutated.Contains(tree.FilePath)))
            {
                Mutator mutator = new(tree.FilePath, _plain.GetSemanticModel(tree), left, mutants);
                SyntaxNode root = mutator.Visit(tree.GetRoot())!;
                foreach ((int id, string place) in mutator.Places) places[id] = place;
                compilation = compilation.ReplaceSyntaxTree(tree, tree.WithRootAndOptions(root, _options));
            }
            EmitResult result = compilation.Emit(output);
            if (result.Success) return mutants;
            Diagnostic[] errors = [.. result.Diagnostics.Where(each => each.Severity == DiagnosticSeverity.Error)];
            int before = left.Count;
            foreach (Diagnostic error in errors) left.UnionWith(AtFault(error).Select(id => places[id]));
            if (left.Count == before) throw new InvalidOperationException($"does not compile without mutants either: {errors[0]}");
            Console.Error.WriteLine($"round {round + 1}: {mutants.Count} mutants, {errors.Length} errors, {left.Count} left out");
        }
        throw new InvalidOperationException($"does not compile after {RoundsMax} rounds");
    }

    /// <summary>The mutants around an error or, if it stands in none, all of the member it stands in.</summary>
    private static IEnumerable<int> AtFault(Diagnostic error)
    {
        if (error.Location.SourceTree?.GetRoot().FindNode(error.Location.SourceSpan) is not { } node) return [];
        int[] around = [.. node.AncestorsAndSelf().SelectMany(Ids)];
        if (around.Length > 0 && error.Id is not ("CS0165" or "CS0177" or "CS0269")) return around.Take(1);
        SyntaxNode member = node.FirstAncestorOrSelf<MemberDeclarationSyntax>(each => each is not BaseTypeDeclarationSyntax) ?? node;
        return member.DescendantNodesAndSelf().SelectMany(Ids);
    }

    private static IEnumerable<int> Ids(SyntaxNode node) =>
        node.GetAnnotations(Mutator.Annotation).Select(each => int.Parse(each.Data!, System.Globalization.CultureInfo.InvariantCulture));

    private sealed class Loader : IAnalyzerAssemblyLoader
    {
        internal static readonly Loader Instance = new();

        public void AddDependencyLocation(string fullPath)
        {
        }

        public System.Reflection.Assembly LoadFromPath(string fullPath) => System.Reflection.Assembly.LoadFrom(fullPath);
    }
}
