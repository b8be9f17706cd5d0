using System.Reflection;

namespace Vmm.Profile;

/// <summary>
/// Distinguishes methods of one name by the signature that the runtime's text has: <c>instance void  (int32,class Space.Name)</c>.
/// </summary>
internal static class Signature
{
    /// <summary>Whether the number of parameters is that of the text, and each that has a name of its own has it there.</summary>
    public static bool Fits(string text, MethodBase method)
    {
        string[] written = Parameters(text);
        ParameterInfo[] parameters = method.GetParameters();
        return written.Length == parameters.Length && parameters.Zip(written).All(pair => Fits(pair.Second, pair.First.ParameterType));
    }

    private static bool Fits(string written, Type type)
    {
        if (type.IsByRef != written.Contains('&', StringComparison.Ordinal)) return false;
        Type named = type.HasElementType ? type.GetElementType()! : type;
        return named.IsPrimitive || named.IsGenericType || named.IsGenericParameter || named == typeof(object) || named == typeof(string)
            || written.Contains(named.Name, StringComparison.Ordinal);
    }

    private static string[] Parameters(string text)
    {
        string list = text[(text.IndexOf('(', StringComparison.Ordinal) + 1)..text.LastIndexOf(')')];
        return list.Length == 0 ? [] : [.. MethodFinder.Arguments(list)];
    }
}
