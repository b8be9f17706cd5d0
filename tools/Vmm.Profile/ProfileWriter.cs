using System.Globalization;
using System.Reflection;
using System.Reflection.Emit;

namespace Vmm.Profile;

/// <summary>
/// Writes a profile in the form that the native compiler reads (<c>.mibc</c>): an assembly in which nothing runs. Its method
/// <c>AssemblyDictionary</c> names methods that each stand for a group: what is defined in one assembly and refers to the same others. In a
/// group, each measured method is <c>ldtoken METHOD; ldstr "InstrumentationDataStart"; …; ldstr "InstrumentationDataEnd"; pop</c>. Between
/// the two strings numbers and types are loaded: for each probe which fields follow, its place, kind, count, target, and then its values.
/// </summary>
internal sealed class ProfileWriter
{
    private const int PlaceKindCountAndTarget = 0xF;

    private readonly PersistedAssemblyBuilder _assembly;
    private readonly ModuleBuilder _module;
    private readonly ILGenerator _dictionary;
    private readonly Dictionary<string, ILGenerator> _groups = [];

    /// <summary>Begins a profile of this name.</summary>
    public ProfileWriter(string name)
    {
        _assembly = new PersistedAssemblyBuilder(new AssemblyName(name), typeof(object).Assembly);
        _module = _assembly.DefineDynamicModule(name);
        _dictionary = Define("AssemblyDictionary").GetILGenerator();
    }

    /// <summary>Adds what was counted in a method.</summary>
    public void Add(MethodBase method, IEnumerable<Probe> probes)
    {
        ILGenerator il = GroupOf(method);
        LoadToken(il, method);
        il.Emit(OpCodes.Ldstr, "InstrumentationDataStart");
        foreach (Probe probe in probes)
        {
            foreach (int field in (int[])[PlaceKindCountAndTarget, probe.Offset, probe.Kind, probe.Values.Count, probe.Other])
                il.Emit(OpCodes.Ldc_I4, field);
            if (probe.Form == ProbeForm.None) continue;
            foreach (string value in probe.Values)
                Load(il, probe.Form, value);
        }
        il.Emit(OpCodes.Ldstr, "InstrumentationDataEnd");
        // The compiler's reader leaves out the method that follows one that there no longer is; the second of two ends that.
        il.Emit(OpCodes.Pop);
        il.Emit(OpCodes.Pop);
    }

    /// <summary>Writes the file.</summary>
    public void Save(string path)
    {
        _module.CreateGlobalFunctions();
        _assembly.Save(path);
    }

    private ILGenerator GroupOf(MethodBase method)
    {
        string name = string.Join("", AssembliesOf(method.DeclaringType!).Distinct().Select(assembly => $"{assembly};"));
        if (_groups.TryGetValue(name, out ILGenerator? group)) return group;
        MethodBuilder defined = Define($"Assemblies_{name}_{_groups.Count}");
        _dictionary.Emit(OpCodes.Ldstr, name);
        _dictionary.Emit(OpCodes.Ldtoken, defined);
        _dictionary.Emit(OpCodes.Pop);
        return _groups[name] = defined.GetILGenerator();
    }

    private static IEnumerable<string> AssembliesOf(Type type) =>
        type.GetGenericArguments().SelectMany(AssembliesOf).Order(StringComparer.Ordinal).Prepend(type.Assembly.GetName().Name!);

    private MethodBuilder Define(string name) =>
        _module.DefineGlobalMethod(name, MethodAttributes.Public | MethodAttributes.Static, typeof(void), []);

    private void Load(ILGenerator il, ProbeForm form, string value)
    {
        switch (form)
        {
            case ProbeForm.FourByte:
                LoadNumber(il, long.Parse(value, CultureInfo.InvariantCulture));
                break;
            case ProbeForm.EightByte:
                string[] halves = value.Split(' ');
                long low = long.Parse(halves[0], CultureInfo.InvariantCulture), high = long.Parse(halves[1], CultureInfo.InvariantCulture);
                LoadNumber(il, low | high << 32);
                break;
            case ProbeForm.Type:
                LoadType(il, value["TypeHandle: ".Length..]);
                break;
            case ProbeForm.Method:
                LoadMethod(il, value["MethodHandle: ".Length..]);
                break;
            default:
                throw new InvalidDataException($"a value '{value}' of form {form}");
        }
    }

    private static void LoadNumber(ILGenerator il, long number)
    {
        if (number is >= int.MinValue and <= int.MaxValue) il.Emit(OpCodes.Ldc_I4, (int)number);
        else il.Emit(OpCodes.Ldc_I8, number);
    }

    private static void LoadType(ILGenerator il, string name)
    {
        if (MethodFinder.FindType(name) is { } type) il.Emit(OpCodes.Ldtoken, type);
        else il.Emit(OpCodes.Ldc_I4, Unknown(name));
    }

    private void LoadMethod(ILGenerator il, string name)
    {
        string[] parts = name.Split("|@|");
        if (parts.Length == 2 && MethodFinder.FindMethod(parts[0], parts[1]) is { } method) LoadToken(il, method);
        else il.Emit(OpCodes.Ldc_I4, Unknown(name));
    }

    private void LoadToken(ILGenerator il, MethodBase method)
    {
        // A generator takes a constructor only where it is called.
        if (method is ConstructorInfo constructor) il.Emit(OpCodes.Ldtoken, _module.GetMethodMetadataToken(constructor));
        else il.Emit(OpCodes.Ldtoken, (MethodInfo)method);
    }

    /// <summary>What stands for a type or method that cannot be named: 0 for none, otherwise a number that is no token.</summary>
    private static int Unknown(string name) => name == "NULL" ? 0 : 1;
}
