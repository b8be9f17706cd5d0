using System.Reflection;
using System.Reflection.Emit;

namespace Vmm.Profile;

/// <summary>
/// The type argument of code that instances of generics share: the runtime names it <c>System.__Canon</c>, and a profile refers to it in an
/// assembly of its own, which exists in memory only.
/// </summary>
internal static class CanonicalType
{
    /// <summary>Its name in the runtime's text.</summary>
    public const string Name = "System.__Canon";

    private const string AssemblyName = "System.Private.Canon";

    /// <summary>The type.</summary>
    public static Type Value { get; } = Define();

    /// <summary>Lets a profile that refers to the type be read.</summary>
    public static void Register() =>
        AppDomain.CurrentDomain.AssemblyResolve += (_, asked) => new AssemblyName(asked.Name).Name == AssemblyName ? Value.Assembly : null;

    private static Type Define() => AssemblyBuilder.DefineDynamicAssembly(new AssemblyName(AssemblyName), AssemblyBuilderAccess.Run)
        .DefineDynamicModule(AssemblyName).DefineType(Name, TypeAttributes.Public).CreateType();
}
