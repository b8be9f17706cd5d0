using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;

namespace Vmm.Tests.House;

/// <summary>Public types that users of a library have no reason to know.</summary>
internal static class PublicTypes
{
    private const BindingFlags All =
        BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    /// <summary>What is wrong with a list of types that are public for a reason of their own.</summary>
    /// <param name="library">Whose types.</param>
    /// <param name="reasons">The types that <see cref="UsedByTestsAtMost"/> finds, each with why it is public.</param>
    internal static IEnumerable<string> Differences(Assembly library, IReadOnlyDictionary<string, string> reasons)
    {
        string[] found = [.. UsedByTestsAtMost(library)];
        return found.Except(reasons.Keys).Select(name => $"{name} is public, and nothing but tests names it: make it internal, or give the reason")
            .Concat(reasons.Keys.Except(found).Select(name => $"{name} is used, gone or internal: it needs no reason any more"));
    }

    /// <summary>
    /// The public types that no example, template, guide, or tool that sees no other types, names, by themselves or by an extension method of theirs, and that no public
    /// member of another type gives or takes.
    /// </summary>
    private static IEnumerable<string> UsedByTestsAtMost(Assembly library)
    {
        HashSet<string> words = WordsOfUsers(library);
        HashSet<Type> inSignatures = [.. library.GetExportedTypes().SelectMany(type => NamedBy(type).Where(named => named != type))];
        return
            from type in library.GetExportedTypes()
            where !inSignatures.Contains(type) && !words.Contains(NameOf(type)) && !ExtensionsOf(type).Any(words.Contains)
            let name = NameOf(type)
            orderby name
            select name;
    }

    private static HashSet<string> WordsOfUsers(Assembly library)
    {
        // Not the fuzzer, the benchmarks and, where it is so, the tool: they see what is internal too.
        bool toolIsOutside = library.GetCustomAttributes<InternalsVisibleToAttribute>().All(each => each.AssemblyName != "vmm");
        string[] folders =
        [
            RepositoryTree.PathOf("tools", "templates"), RepositoryTree.PathOf("docs"),
            .. toolIsOutside ? [RepositoryTree.PathOf("tools", "vmm")] : (string[])[],
        ];
        IEnumerable<string> texts = folders.SelectMany(folder => RepositoryTree.SourcesBelow(folder).Select(source => source.Text))
            .Concat(Directory.EnumerateFiles(RepositoryTree.PathOf("docs"), "*.md", SearchOption.AllDirectories).Where(IsForUsers).Select(File.ReadAllText))
            .Append(File.ReadAllText(RepositoryTree.PathOf("README.md")));
        return [.. texts.SelectMany(text => Regex.Matches(text, @"\w+").Select(word => word.Value))];
    }

    /// <summary>Pages for those who change the library name types of its inside too.</summary>
    private static bool IsForUsers(string page) =>
        Path.GetFileName(page) is not ("architecture.md" or "mutation.md") && Path.GetFileName(Path.GetDirectoryName(page)) != "decisions";

    private static string NameOf(Type type) => type.Name.Split('`')[0];

    private static IEnumerable<string> ExtensionsOf(Type type) =>
        type.GetMethods(All).Where(method => method.IsPublic && method.IsDefined(typeof(ExtensionAttribute))).Select(method => method.Name);

    private static IEnumerable<Type> NamedBy(Type type)
    {
        IEnumerable<Type?> direct =
        [
            type.BaseType, type.DeclaringType, .. type.GetInterfaces(),
            .. type.GetMethods(All).Where(IsVisible).SelectMany(method => method.GetParameters().Select(each => each.ParameterType).Append(method.ReturnType)),
            .. type.GetConstructors(All).Where(IsVisible).SelectMany(constructor => constructor.GetParameters().Select(each => each.ParameterType)),
            .. type.GetFields(All).Where(field => field.IsPublic || field.IsFamily).Select(field => field.FieldType),
            .. type.GetCustomAttributesData().SelectMany(attribute =>
                attribute.ConstructorArguments.Select(argument => argument.Value as Type).Append(attribute.AttributeType)),
        ];
        return direct.OfType<Type>().SelectMany(Parts);
    }

    private static bool IsVisible(MethodBase method) => method.IsPublic || method.IsFamily || method.IsFamilyOrAssembly;

    /// <summary>The types that a type is put together of: <c>IReadOnlyList&lt;T&gt;[]</c> names <c>T</c> too.</summary>
    private static IEnumerable<Type> Parts(Type type)
    {
        if (type.HasElementType) return Parts(type.GetElementType()!);
        return type.IsGenericType ? type.GetGenericArguments().SelectMany(Parts).Append(type.GetGenericTypeDefinition()) : [type];
    }
}
