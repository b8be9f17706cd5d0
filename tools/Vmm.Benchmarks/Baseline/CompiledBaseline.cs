using System.Runtime.InteropServices;

namespace Vmm.Benchmarks;

/// <summary>The loops of epoll_baseline.c, compiled once a process.</summary>
internal static unsafe class CompiledBaseline
{
    private static readonly Lazy<Functions> Loaded = new(() => new Functions(BaselineLibrary.Load("epoll_baseline.c")));

    internal static nint Create(int count)
    {
        // SAFETY: the signatures of these function pointers are those of epoll_baseline.c, which was compiled from the file beside us.
        nint baseline = Loaded.Value.Create(count);
        return baseline != 0
            ? baseline : throw new IOException($"the C baseline cannot watch {count} eventfds: out of descriptors (ulimit -n)?");
    }

    internal static void Destroy(nint baseline) => Loaded.Value.Destroy(baseline);

    internal static void OneReady(nint baseline, long events, int hot) => Check(Loaded.Value.OneReady(baseline, events, hot), events);

    internal static void AllReady(nint baseline, long passes, int count) => Check(Loaded.Value.AllReady(baseline, passes), passes * count);

    internal static void Register(nint baseline, long pairs) => Check(Loaded.Value.Register(baseline, pairs), pairs);

    private static void Check(long done, long asked)
    {
        if (done != asked) throw new InvalidOperationException($"the C baseline handled {done} of {asked} events");
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
