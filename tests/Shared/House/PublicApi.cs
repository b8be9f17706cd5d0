using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text;

namespace Vmm.Tests.House;

/// <summary>
/// The public and protected surface of an assembly as text: one line a type, one a member, in ordinal order. What the compiler adds to a
/// record is left out.
/// </summary>
internal static class PublicApi
{
    private const BindingFlags Declared =
        BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    private static readonly NullabilityInfoContext Nullability = new();

    private static readonly Dictionary<Type, string> Keywords = new()
    {
        [typeof(void)] = "void",
        [typeof(bool)] = "bool",
        [typeof(byte)] = "byte",
        [typeof(sbyte)] = "sbyte",
        [typeof(short)] = "short",
        [typeof(ushort)] = "ushort",
        [typeof(int)] = "int",
        [typeof(uint)] = "uint",
        [typeof(long)] = "long",
        [typeof(ulong)] = "ulong",
        [typeof(nint)] = "nint",
        [typeof(nuint)] = "nuint",
        [typeof(float)] = "float",
        [typeof(double)] = "double",
        [typeof(decimal)] = "decimal",
        [typeof(char)] = "char",
        [typeof(string)] = "string",
        [typeof(object)] = "object",
    };

    internal static string Of(Assembly assembly)
    {
        StringBuilder text = new();
        foreach (Type type in assembly.GetTypes().Where(IsVisible).OrderBy(type => $"{type.Namespace}.{Name(type)}", StringComparer.Ordinal))
        {
            text.Append(Header(type)).Append('\n');
            IEnumerable<string> members = type.IsEnum ? EnumMembers(type) : Members(type);
            foreach (string member in members) text.Append("    ").Append(member).Append('\n');
        }
        return text.ToString();
    }

    private static string Header(Type type)
    {
        string kind = type switch
        {
            { IsEnum: true } => "enum",
            { IsInterface: true } => "interface",
            { IsValueType: true } => IsReadOnly(type) ? "readonly struct" : "struct",
            _ when typeof(Delegate).IsAssignableFrom(type) => "delegate",
            { IsAbstract: true, IsSealed: true } => "static class",
            { IsAbstract: true } => "abstract class",
            { IsSealed: true } => "sealed class",
            _ => "class",
        };
        List<string> bases = [];
        if (type is { BaseType: { } parent, IsValueType: false } && parent != typeof(object)) bases.Add(Name(parent));
        if (!type.IsEnum)
        {
            bases.AddRange(type.GetInterfaces().Where(each => each.IsVisible && type.BaseType?.GetInterfaces().Contains(each) != true)
                .Select(each => Name(each)).Order(StringComparer.Ordinal));
        }
        string inherits = bases.Count == 0 ? "" : $" : {string.Join(", ", bases)}";
        return $"{kind} {type.Namespace}.{Name(type)}{inherits}";
    }

    private static IEnumerable<string> EnumMembers(Type type) =>
        type.GetFields(BindingFlags.Public | BindingFlags.Static).Select(field => $"{field.Name} = {field.GetRawConstantValue()}");

    private static IEnumerable<string> Members(Type type) =>
        type.GetMembers(Declared).Where(member => !member.IsDefined(typeof(CompilerGeneratedAttribute)))
            .Select(Describe).OfType<string>().Order(StringComparer.Ordinal);

    private static string? Describe(MemberInfo member) => member switch
    {
        ConstructorInfo constructor when IsVisible(constructor) =>
            $"{Access(constructor)}{Name(constructor.DeclaringType!)}({Parameters(constructor)})",
        MethodInfo method when IsVisible(method) && (!method.IsSpecialName || method.Name.StartsWith("op_", StringComparison.Ordinal)) =>
            $"{Access(method)}{(method.ReturnType.IsByRef ? "ref " : "")}{Name(method.ReturnType, Nullability.Create(method.ReturnParameter))} {method.Name}{Arguments(method)}({Parameters(method)})",
        PropertyInfo property => Describe(property),
        FieldInfo field when field.IsPublic || field.IsFamily || field.IsFamilyOrAssembly =>
            $"{(field.IsPublic ? "" : "protected ")}{(field.IsLiteral ? "const " : field.IsStatic ? "static " : "")}"
            + $"{(field.IsInitOnly ? "readonly " : "")}{Name(field.FieldType, Nullability.Create(field))} {field.Name}"
            + (field.IsLiteral ? $" = {field.GetRawConstantValue()}" : ""),
        EventInfo { AddMethod: { } add } source when IsVisible(add) => $"{Access(add)}event {Name(source.EventHandlerType!)} {source.Name}",
        _ => null,
    };

    private static string? Describe(PropertyInfo property)
    {
        MethodInfo? get = property.GetMethod is { } getter && IsVisible(getter) ? getter : null;
        MethodInfo? set = property.SetMethod is { } setter && IsVisible(setter) ? setter : null;
        if ((get ?? set) is not { } accessor) return null;
        bool isInit = set?.ReturnParameter.GetRequiredCustomModifiers().Any(each => each.Name == "IsExternalInit") == true;
        string accessors = $"{(get is null ? "" : "get; ")}{(set is null ? "" : isInit ? "init; " : "set; ")}";
        ParameterInfo[] index = property.GetIndexParameters();
        string name = index.Length == 0 ? property.Name : $"this[{string.Join(", ", index.Select(Parameter))}]";
        return $"{Access(accessor)}{(property.PropertyType.IsByRef ? "ref " : "")}{Name(property.PropertyType, Nullability.Create(property))} {name} {{ {accessors}}}";
    }

    private static string Access(MethodBase method)
    {
        string access = method.IsPublic ? "" : "protected ";
        if (method.DeclaringType!.IsInterface) return access;
        if (method.IsStatic) return access + "static ";
        if (method.IsAbstract) return access + "abstract ";
        if (!method.IsVirtual || method.IsFinal) return access;
        return access + (((MethodInfo)method).GetBaseDefinition() == method ? "virtual " : "override ");
    }

    private static string Parameters(MethodBase method) => string.Join(", ", method.GetParameters().Select(Parameter));

    private static string Parameter(ParameterInfo parameter)
    {
        string way = parameter.IsOut ? "out " : parameter.IsIn ? "in " : parameter.ParameterType.IsByRef ? "ref " : "";
        string value = !parameter.HasDefaultValue ? "" : $" = {parameter.RawDefaultValue switch
        {
            null => "default",
            string text => $"\"{text}\"",
            bool flag => flag ? "true" : "false",
            { } other => other,
        }}";
        return $"{way}{Name(parameter.ParameterType, Nullability.Create(parameter))} {parameter.Name}{value}";
    }

    private static string Arguments(MethodInfo method) =>
        method.IsGenericMethod ? $"<{string.Join(", ", method.GetGenericArguments().Select(each => each.Name))}>" : "";

    private static string Name(Type type, NullabilityInfo? nullability = null)
    {
        bool mayBeNull = nullability is { ReadState: NullabilityState.Nullable } && !type.IsValueType;
        return Bare(type) + (mayBeNull ? "?" : "");
    }

    private static string Bare(Type type)
    {
        if (Keywords.TryGetValue(type, out string? keyword)) return keyword;
        if (type.IsByRef) return Bare(type.GetElementType()!);
        if (type.IsPointer) return Bare(type.GetElementType()!) + "*";
        if (type.IsArray) return Bare(type.GetElementType()!) + "[]";
        if (Nullable.GetUnderlyingType(type) is { } value) return Bare(value) + "?";
        string name = type.Name.Split('`')[0];
        if (type is { IsNested: true, IsGenericParameter: false }) name = $"{type.DeclaringType!.Name.Split('`')[0]}.{name}";
        return type.IsGenericType ? $"{name}<{string.Join(", ", type.GetGenericArguments().Select(Bare))}>" : name;
    }

    private static bool IsVisible(Type type) => type.IsVisible && !type.Name.StartsWith('<');

    private static bool IsVisible(MethodBase method) =>
        (method.IsPublic || method.IsFamily || method.IsFamilyOrAssembly) && !method.Name.StartsWith('<');

    private static bool IsReadOnly(Type type) => type.GetCustomAttributesData().Any(each => each.AttributeType.Name == "IsReadOnlyAttribute");
}
