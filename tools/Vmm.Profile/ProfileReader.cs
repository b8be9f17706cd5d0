using System.Buffers.Binary;
using System.Reflection;
using System.Reflection.Emit;

namespace Vmm.Profile;

/// <summary>Reads what <see cref="ProfileWriter"/> wrote, and looks which of its methods exist.</summary>
internal static class ProfileReader
{
    /// <summary>All methods that the profile at <paramref name="path"/> names.</summary>
    public static IReadOnlyList<ProfiledMethod> Read(string path)
    {
        CanonicalType.Register();
        Module module = Assembly.Load(File.ReadAllBytes(path)).ManifestModule;
        return [.. module.GetMethods().Where(group => group.Name != "AssemblyDictionary").SelectMany(group => ReadGroup(module, group))];
    }

    private static List<ProfiledMethod> ReadGroup(Module module, MethodInfo group)
    {
        List<ProfiledMethod> methods = [];
        List<long>? data = null;
        byte[] il = group.GetMethodBody()!.GetILAsByteArray()!;
        for (int at = 0; at < il.Length;)
        {
            short code = il[at++];
            ReadOnlySpan<byte> operand = il.AsSpan(at);
            if (code == OpCodes.Ldtoken.Value)
            {
                int token = BinaryPrimitives.ReadInt32LittleEndian(operand);
                if (data is null) methods.Add(Resolve(module, token, data = []));
                else data.Add(token);
                at += sizeof(int);
            }
            else if (code >= OpCodes.Ldc_I4_M1.Value && code <= OpCodes.Ldc_I4_8.Value)
            {
                data!.Add(code - OpCodes.Ldc_I4_0.Value);
            }
            else if (code == OpCodes.Ldc_I4_S.Value)
            {
                data!.Add((sbyte)il[at++]);
            }
            else if (code == OpCodes.Ldc_I4.Value)
            {
                data!.Add(BinaryPrimitives.ReadInt32LittleEndian(operand));
                at += sizeof(int);
            }
            else if (code == OpCodes.Ldc_I8.Value)
            {
                data!.Add(BinaryPrimitives.ReadInt64LittleEndian(operand));
                at += sizeof(long);
            }
            else if (code == OpCodes.Ldstr.Value)
            {
                at += sizeof(int);
            }
            else if (code == OpCodes.Pop.Value)
            {
                data = null;
            }
            else
            {
                throw new InvalidDataException($"an instruction {code:x2} at {at - 1} of {group.Name}");
            }
        }
        return methods;
    }

    private static ProfiledMethod Resolve(Module module, int token, List<long> data)
    {
        try
        {
            MethodBase method = module.ResolveMethod(token)!;
            return new ProfiledMethod(method, $"{method.DeclaringType}.{method.Name}", data);
        }
        catch (Exception gone) when (gone is MissingMemberException or TypeLoadException or IOException)
        {
            return new ProfiledMethod(null, gone.Message, data);
        }
    }
}
