using System.Reflection;
using System.Reflection.Emit;

namespace Vmm.Devices.Tests.House;

/// <summary>Who calls what in a library, read from its compiled code: names and aliases in the source can't hide a call.</summary>
internal static class CallGraph
{
    private const BindingFlags All = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    /// <summary>The methods that a type declares by some names.</summary>
    internal static IEnumerable<MethodBase> MethodsOf(Type type, params string[] names) => type.GetMethods(All).Where(method => names.Contains(method.Name));

    /// <summary>The constructors of a type.</summary>
    internal static IEnumerable<MethodBase> ConstructorsOf(Type type) => type.GetConstructors(All & ~BindingFlags.Static);

    /// <summary>The types, outermost ones, whose code calls any of some methods or makes a delegate of one.</summary>
    internal static IEnumerable<Type> CallersOf(Assembly library, IReadOnlyCollection<MethodBase> called) =>
        from type in library.GetTypes()
        from method in type.GetMethods(All).Cast<MethodBase>().Concat(type.GetConstructors(All))
        where Calls(method).Any(called.Contains)
        select Outermost(type);

    private static IEnumerable<MethodBase> Calls(MethodBase method)
    {
        byte[] code = method.GetMethodBody()?.GetILAsByteArray() ?? [];
        // Every byte is tried as an instruction: one in the middle of another is no token of a method.
        for (int i = 0; i + 4 < code.Length; i++)
        {
            bool isCall = code[i] == OpCodes.Call.Value || code[i] == OpCodes.Callvirt.Value || code[i] == OpCodes.Newobj.Value;
            bool isDelegate = i > 0 && (short)((code[i - 1] << 8) | code[i]) == OpCodes.Ldftn.Value;
            if ((isCall || isDelegate) && Resolve(method, BitConverter.ToInt32(code, i + 1)) is { } callee) yield return callee;
        }
    }

    private static MethodBase? Resolve(MethodBase method, int token)
    {
        try
        {
            return method.Module.ResolveMethod(token, method.DeclaringType!.GetGenericArguments(), method.IsGenericMethod ? method.GetGenericArguments() : null);
        }
        catch (Exception notAMethod) when (notAMethod is ArgumentException or BadImageFormatException)
        {
            return null;
        }
    }

    private static Type Outermost(Type type) => type.DeclaringType is { } outer ? Outermost(outer) : type;
}
