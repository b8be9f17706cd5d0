using System.Reflection;

namespace Vmm.Profile;

/// <summary>Finds the methods and types of the measured program by the names that the runtime gives them.</summary>
internal sealed class MethodFinder
{
    private const BindingFlags Declared =
        BindingFlags.DeclaredOnly | BindingFlags.Instance | BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic;

    private readonly ILookup<string, Type> _types;

    /// <summary>Looks in <paramref name="program"/> and all that it refers to.</summary>
    public MethodFinder(Assembly program) =>
        _types = WithReferences(program).SelectMany(assembly => assembly.GetTypes()).ToLookup(type => type.FullName!);

    /// <summary>
    /// The method; none if there is none or if several may be meant. The name of a generic method does not say which instance was measured:
    /// all are returned whose type is a value type that its constraint allows.
    /// </summary>
    public IReadOnlyList<MethodBase> Find(MeasuredMethod measured)
    {
        MethodBase[] found = [.. Splits(measured.Name)
            .SelectMany(split => TypesNamed(split.Type).SelectMany(type => Methods(type, split.Method)))
            .Where(method => ByteCount(method) == measured.ByteCount)];
        if (found.Length > 1) found = [.. found.Where(method => Signature.Fits(measured.Signature, method))];
        return found.Length != 1 ? [] : found[0].IsGenericMethodDefinition ? [.. Instances((MethodInfo)found[0])] : found;
    }

    private static IEnumerable<MethodInfo> Instances(MethodInfo method)
    {
        if (method.GetGenericArguments() is not [{ } parameter]) return [];
        Type? constraint = parameter.GetGenericParameterConstraints()
            .FirstOrDefault(type => type.IsInterface && type.Assembly == method.Module.Assembly);
        if (constraint is null) return [];
        return method.Module.GetTypes().Where(type => type.IsValueType && type.IsAssignableTo(constraint))
            .Select(type => method.MakeGenericMethod(type));
    }

    /// <summary>The type that an assembly-qualified name names, or null.</summary>
    public static Type? FindType(string qualifiedName)
    {
        try
        {
            return Type.GetType(qualifiedName);
        }
        catch (Exception e) when (e is TypeLoadException or IOException or ArgumentException)
        {
            return null;
        }
    }

    /// <summary>The only method of this name in a type, or null.</summary>
    public static MethodBase? FindMethod(string name, string qualifiedType) =>
        FindType(qualifiedType) is { } type && Methods(type, name).ToArray() is [{ IsGenericMethodDefinition: false } method]
            ? method
            : null;

    private static IEnumerable<MethodBase> Methods(Type type, string name) =>
        type.GetMembers(Declared).OfType<MethodBase>().Where(method => method.Name == name);

    private static int ByteCount(MethodBase method) => method.GetMethodBody()?.GetILAsByteArray()?.Length ?? 0;

    /// <summary>A name has dots in types and in methods (constructors, members of interfaces): each may be the one between.</summary>
    private static IEnumerable<(string Type, string Method)> Splits(string name)
    {
        for (int dot = name.LastIndexOf('.'); dot > 0; dot = name.LastIndexOf('.', dot - 1))
            yield return (name[..dot], name[(dot + 1)..]);
    }

    /// <summary>All types of a name such as <c>Space.Name`1+Inner[System.Int32]</c>.</summary>
    private IEnumerable<Type> TypesNamed(string name)
    {
        if (name == CanonicalType.Name) return [CanonicalType.Value];
        if (name.EndsWith("[]", StringComparison.Ordinal)) return TypesNamed(name[..^2]).Select(type => type.MakeArrayType());
        int open = name.IndexOf('[');
        if (open < 0) return _types[name];
        Type[] arguments = [.. Arguments(name[(open + 1)..^1]).SelectMany(argument => TypesNamed(argument).Take(1))];
        return _types[name[..open]].Where(type => type.GetGenericArguments().Length == arguments.Length)
            .SelectMany(type => Instance(type, arguments));
    }

    private static IEnumerable<Type> Instance(Type type, Type[] arguments)
    {
        try
        {
            return [type.MakeGenericType(arguments)];
        }
        catch (ArgumentException)
        {
            // The canonical type fulfills no constraint.
            return [];
        }
    }

    /// <summary>What commas outside of brackets separate.</summary>
    internal static IEnumerable<string> Arguments(string list)
    {
        int depth = 0, start = 0;
        for (int i = 0; i < list.Length; i++)
        {
            depth += list[i] switch { '[' or '<' => 1, ']' or '>' => -1, _ => 0 };
            if (list[i] != ',' || depth > 0) continue;
            yield return list[start..i];
            start = i + 1;
        }
        yield return list[start..];
    }

    private static HashSet<Assembly> WithReferences(Assembly program)
    {
        HashSet<Assembly> assemblies = [program, typeof(object).Assembly];
        for (Queue<Assembly> next = new(assemblies); next.TryDequeue(out Assembly? assembly);)
        {
            foreach (Assembly reference in assembly.GetReferencedAssemblies().Select(Assembly.Load))
            {
                if (assemblies.Add(reference)) next.Enqueue(reference);
            }
        }
        return assemblies;
    }
}
