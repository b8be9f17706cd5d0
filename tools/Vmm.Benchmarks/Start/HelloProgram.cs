using System.Reflection;
using System.Reflection.Emit;
using System.Reflection.Metadata;
using System.Reflection.Metadata.Ecma335;
using System.Reflection.PortableExecutable;

namespace Vmm.Benchmarks;

/// <summary>The least .NET program: <c>Console.WriteLine("Hello, World!")</c>, with the settings of a new project.</summary>
internal static class HelloProgram
{
    /// <summary>Writes it, with what <c>dotnet</c> needs to run it.</summary>
    /// <returns>The assembly.</returns>
    internal static string Write(string directory)
    {
        PersistedAssemblyBuilder assembly = new(new AssemblyName("hello"), typeof(object).Assembly);
        TypeBuilder program = assembly.DefineDynamicModule("hello").DefineType("Program", TypeAttributes.Class | TypeAttributes.Public);
        MethodBuilder main = program.DefineMethod("Main", MethodAttributes.Static | MethodAttributes.Public, typeof(void), []);
        ILGenerator code = main.GetILGenerator();
        code.Emit(OpCodes.Ldstr, "Hello, World!");
        code.Emit(OpCodes.Call, typeof(Console).GetMethod(nameof(Console.WriteLine), [typeof(string)])!);
        code.Emit(OpCodes.Ret);
        program.CreateType();

        MetadataBuilder metadata = assembly.GenerateMetadata(out BlobBuilder body, out BlobBuilder data);
        ManagedPEBuilder file = new(PEHeaderBuilder.CreateExecutableHeader(), new MetadataRootBuilder(metadata), body, data,
            entryPoint: MetadataTokens.MethodDefinitionHandle(main.MetadataToken));
        BlobBuilder bytes = new();
        file.Serialize(bytes);
        string path = Path.Combine(directory, "hello.dll");
        File.WriteAllBytes(path, bytes.ToArray());
        string version = $"{Environment.Version.Major}.{Environment.Version.Minor}.0";
        File.WriteAllText(Path.Combine(directory, "hello.runtimeconfig.json"), $$"""
            { "runtimeOptions": { "tfm": "net10.0", "framework": { "name": "Microsoft.NETCore.App", "version": "{{version}}" } } }
            """);
        return path;
    }
}
