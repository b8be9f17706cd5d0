using System.Runtime.InteropServices;

namespace Vmm.Benchmarks;

/// <summary>The relay of relay_baseline.c: its own process between this thread and one at the other end.</summary>
/// <param name="kibibytes">KiB of a write.</param>
/// <param name="otherWrites">Whether the other end writes and this thread reads.</param>
/// <param name="streams">How many such processes; several if this thread writes, to each in turn.</param>
internal sealed partial class RelayBaseline(int kibibytes, bool otherWrites, int streams = 1) : IContender
{
    private const string Source = "relay_baseline.c";

    private readonly nint[] _relays = [.. Enumerable.Range(0, streams).Select(_ => Create(otherWrites))];

    public int Quantum => streams;

    public void Run(long operations)
    {
        long done = Run(_relays, streams, operations, kibibytes * 1024L);
        if (done != operations) throw new InvalidOperationException($"the relay passed on {done} of {operations} writes");
    }

    public void Dispose()
    {
        foreach (nint relay in _relays) Destroy(relay);
    }

    [LibraryImport(Source, EntryPoint = "relay_create")]
    private static partial nint Create([MarshalAs(UnmanagedType.U1)] bool otherWrites);

    [LibraryImport(Source, EntryPoint = "relay_run")]
    private static partial long Run(nint[] relays, int count, long writes, long block);

    [LibraryImport(Source, EntryPoint = "relay_destroy")]
    private static partial void Destroy(nint relay);

    /// <summary>A program of the host: a thread that writes to a socket, or reads from it.</summary>
    internal sealed partial class HostEnd(int fd, bool writes) : IDisposable
    {
        private readonly nint _end = Create(fd, writes);

        internal void Begin(long bytes, long block) => Begin(_end, bytes, block);

        internal void Finish() => Finish(_end);

        public void Dispose() => Destroy(_end);

        [LibraryImport(Source, EntryPoint = "end_create")]
        private static partial nint Create(int fd, [MarshalAs(UnmanagedType.U1)] bool writes);

        [LibraryImport(Source, EntryPoint = "end_begin")]
        private static partial void Begin(nint end, long bytes, long block);

        [LibraryImport(Source, EntryPoint = "end_finish")]
        private static partial void Finish(nint end);

        [LibraryImport(Source, EntryPoint = "end_destroy")]
        private static partial void Destroy(nint end);
    }
}
