using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Vmm.Benchmarks;

/// <summary>
/// Compiles a C baseline of <c>Baseline/</c> with <c>cc -O2</c> and loads it into the process when one of its functions, which are imported
/// by the name of the source, is called first. A machine without a compiler, such as a small guest, brings it along:
/// <c>exits_baseline.so</c> beside its source.
/// </summary>
internal static class BaselineLibrary
{
    /// <summary>Has imports from <c>NAME.c</c> find what is compiled from it. Once, before the first.</summary>
    internal static void BindImports() => NativeLibrary.SetDllImportResolver(typeof(BaselineLibrary).Assembly,
        static (name, _, _) => name.EndsWith(".c", StringComparison.Ordinal) ? Load(name) : default);

    private static nint Load(string sourceName)
    {
        string source = Path.Combine(AppContext.BaseDirectory, "Baseline", sourceName);
        string compiled = Path.ChangeExtension(source, ".so");
        if (File.Exists(compiled)) return NativeLibrary.Load(compiled);
        string directory = Directory.CreateTempSubdirectory("vmm-baseline-").FullName;
        try
        {
            string library = Path.Combine(directory, "libbaseline.so");
            Compile(source, library);
            return NativeLibrary.Load(library);
        }
        finally
        {
            // What is mapped stays mapped; the name is not needed any more.
            Directory.Delete(directory, recursive: true);
        }
    }

    private static void Compile(string source, string library)
    {
        try
        {
            using Process cc = Process.Start(
                new ProcessStartInfo("cc", ["-O2", "-shared", "-fPIC", "-pthread", "-o", library, source])
                { RedirectStandardError = true })!;
            string errors = cc.StandardError.ReadToEnd();
            cc.WaitForExit();
            if (cc.ExitCode != 0) throw new IOException($"cc cannot compile the baseline {source}: {errors}");
        }
        catch (System.ComponentModel.Win32Exception missing)
        {
            throw new IOException("the baseline needs a C compiler: install gcc and libc6-dev", missing);
        }
    }
}
