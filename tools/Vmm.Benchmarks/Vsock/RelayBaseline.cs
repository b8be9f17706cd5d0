using System.Runtime.InteropServices;

namespace Vmm.Benchmarks;

/// <summary>The relay of relay_baseline.c: its own process between this thread and one at the other end.</summary>
/// <param name="kibibytes">KiB of a write.</param>
/// <param name="otherWrites">Whether the other end writes and this thread reads.</param>
/// <param name="streams">How many such processes; several if this thread writes, to each in turn.</param>
internal sealed unsafe class RelayBaseline(int kibibytes, bool otherWrites, int streams = 1) : IContender
{
    private static readonly Lazy<Functions> Loaded = new(() => new Functions(BaselineLibrary.Load("relay_baseline.c")));

    // SAFETY: the signatures of these function pointers are those of relay_baseline.c, which was compiled from the file beside us.
    private readonly nint[] _relays = [.. Enumerable.Range(0, streams).Select(_ => Loaded.Value.Create(otherWrites))];

    public int Quantum => streams;

    public void Run(long operations)
    {
        long done;
        fixed (nint* relays = _relays) done = Loaded.Value.Run(relays, streams, operations, kibibytes * 1024L);
        if (done != operations) throw new InvalidOperationException($"the relay passed on {done} of {operations} writes");
    }

    public void Dispose()
    {
        foreach (nint relay in _relays) Loaded.Value.Destroy(relay);
    }

    /// <summary>A program of the host: a thread that writes to a socket, or reads from it.</summary>
    internal sealed class HostEnd(int fd, bool writes) : IDisposable
    {
        private readonly nint _end = Loaded.Value.CreateEnd(fd, writes);

        internal void Begin(long bytes, long block) => Loaded.Value.Begin(_end, bytes, block);

        internal void Finish() => Loaded.Value.Finish(_end);

        public void Dispose() => Loaded.Value.DestroyEnd(_end);
    }

    private sealed class Functions(nint library)
    {
        internal readonly delegate* unmanaged<bool, nint> Create =
            (delegate* unmanaged<bool, nint>)NativeLibrary.GetExport(library, "relay_create");
        internal readonly delegate* unmanaged<nint*, int, long, long, long> Run =
            (delegate* unmanaged<nint*, int, long, long, long>)NativeLibrary.GetExport(library, "relay_run");
        internal readonly delegate* unmanaged<nint, void> Destroy =
            (delegate* unmanaged<nint, void>)NativeLibrary.GetExport(library, "relay_destroy");
        internal readonly delegate* unmanaged<int, bool, nint> CreateEnd =
            (delegate* unmanaged<int, bool, nint>)NativeLibrary.GetExport(library, "end_create");
        internal readonly delegate* unmanaged<nint, long, long, void> Begin =
            (delegate* unmanaged<nint, long, long, void>)NativeLibrary.GetExport(library, "end_begin");
        internal readonly delegate* unmanaged<nint, void> Finish =
            (delegate* unmanaged<nint, void>)NativeLibrary.GetExport(library, "end_finish");
        internal readonly delegate* unmanaged<nint, void> DestroyEnd =
            (delegate* unmanaged<nint, void>)NativeLibrary.GetExport(library, "end_destroy");
    }
}
