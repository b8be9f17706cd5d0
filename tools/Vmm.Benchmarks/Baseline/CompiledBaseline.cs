using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Vmm.Benchmarks;

/// <summary>The C baseline, compiled once a process with <c>cc -O2</c> and loaded into it.</summary>
internal static unsafe class CompiledBaseline
{
    private static readonly Lazy<Functions> Loaded = new(Load);

    internal static nint Create(int count)
    {
        // SAFETY: the signatures of these function pointers are those of epoll_baseline.c, which was compiled from the file beside us.
        nint baseline = Loaded.Value.Create(count);
        return baseline != 0 ? baseline : throw new IOException($"the C baseline cannot watch {count} eventfds: out of descriptors (ulimit -n)?");
    }

    internal static void Destroy(nint baseline) => Loaded.Value.Destroy(baseline);

    internal static void OneReady(nint baseline, long events, int hot) => Check(Loaded.Value.OneReady(baseline, events, hot), events);

    internal static void AllReady(nint baseline, long passes, int count) => Check(Loaded.Value.AllReady(baseline, passes), passes * count);

    internal static void Register(nint baseline, long pairs) => Check(Loaded.Value.Register(baseline, pairs), pairs);

    private static void Check(long done, long asked)
    {
        if (done != asked) throw new InvalidOperationException($"the C baseline handled {done} of {asked} events");
    }

    private static Functions Load()
    {
        string source = Path.Combine(AppContext.BaseDirectory, "Baseline", "epoll_baseline.c");
        string directory = Directory.CreateTempSubdirectory("vmm-baseline-").FullName;
        try
        {
            string library = Path.Combine(directory, "libepoll_baseline.so");
            Compile(source, library);
            return new Functions(NativeLibrary.Load(library));
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
                new ProcessStartInfo("cc", ["-O2", "-shared", "-fPIC", "-pthread", "-o", library, source]) { RedirectStandardError = true })!;
            string errors = cc.StandardError.ReadToEnd();
            cc.WaitForExit();
            if (cc.ExitCode != 0) throw new IOException($"cc cannot compile the baseline {source}: {errors}");
        }
        catch (System.ComponentModel.Win32Exception missing)
        {
            throw new IOException("the baseline needs a C compiler: install gcc and libc6-dev", missing);
        }
    }

    private sealed class Functions(nint library)
    {
        internal readonly delegate* unmanaged<int, nint> Create =
            (delegate* unmanaged<int, nint>)NativeLibrary.GetExport(library, "baseline_create");
        internal readonly delegate* unmanaged<nint, void> Destroy =
            (delegate* unmanaged<nint, void>)NativeLibrary.GetExport(library, "baseline_destroy");
        internal readonly delegate* unmanaged<nint, long, int, long> OneReady =
            (delegate* unmanaged<nint, long, int, long>)NativeLibrary.GetExport(library, "baseline_one_ready");
        internal readonly delegate* unmanaged<nint, long, long> AllReady =
            (delegate* unmanaged<nint, long, long>)NativeLibrary.GetExport(library, "baseline_all_ready");
        internal readonly delegate* unmanaged<nint, long, long> Register =
            (delegate* unmanaged<nint, long, long>)NativeLibrary.GetExport(library, "baseline_register");
    }
}
