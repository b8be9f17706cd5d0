using System.Runtime.InteropServices;

namespace Vmm.Benchmarks;

/// <summary>The loops of epoll_baseline.c.</summary>
internal static partial class CompiledBaseline
{
    private const string Source = "epoll_baseline.c";

    internal static nint Create(int count) => CreateLoop(count) is not 0 and var baseline
        ? baseline : throw new IOException($"the C baseline cannot watch {count} eventfds: out of descriptors (ulimit -n)?");

    internal static void OneReady(nint baseline, long events, int hot) => Check(OneReadyOf(baseline, events, hot), events);

    internal static void AllReady(nint baseline, long passes, int count) => Check(AllReadyOf(baseline, passes), passes * count);

    internal static void Register(nint baseline, long pairs) => Check(RegisterOf(baseline, pairs), pairs);

    [LibraryImport(Source, EntryPoint = "baseline_destroy")]
    internal static partial void Destroy(nint baseline);

    private static void Check(long done, long asked)
    {
        if (done != asked) throw new InvalidOperationException($"the C baseline handled {done} of {asked} events");
    }

    [LibraryImport(Source, EntryPoint = "baseline_create")]
    private static partial nint CreateLoop(int count);

    [LibraryImport(Source, EntryPoint = "baseline_one_ready")]
    private static partial long OneReadyOf(nint baseline, long events, int hot);

    [LibraryImport(Source, EntryPoint = "baseline_all_ready")]
    private static partial long AllReadyOf(nint baseline, long passes);

    [LibraryImport(Source, EntryPoint = "baseline_register")]
    private static partial long RegisterOf(nint baseline, long pairs);
}
