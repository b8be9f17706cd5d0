using System.Runtime.InteropServices;

namespace Vmm.Benchmarks;

/// <summary>The loop of ring_baseline.c.</summary>
internal sealed unsafe class RingBaseline : IContender
{
    private static readonly Lazy<Functions> Loaded = new(() => new Functions(BaselineLibrary.Load("ring_baseline.c")));

    private readonly nint _loop;
    private readonly int _depth;

    internal RingBaseline(BlockFile file, int depth)
    {
        _depth = depth;
        nint path = Marshal.StringToCoTaskMemUTF8(file.Path);
        // SAFETY: the signatures of these function pointers are those of ring_baseline.c, which was compiled from the file beside us.
        _loop = Loaded.Value.Create(path, file.IsDirect ? 1 : 0, (uint)depth, BlockFile.Blocks);
        Marshal.FreeCoTaskMem(path);
        if (_loop == 0) throw new IOException("the C baseline cannot set up io_uring, or open its file");
    }

    public int Quantum => RingRun.Quantum(_depth);

    public void Run(long operations)
    {
        long done = Loaded.Value.Run(_loop, operations);
        if (done != operations) throw new InvalidOperationException($"the C baseline read {done} of {operations} blocks");
    }

    public void Dispose() => Loaded.Value.Destroy(_loop);

    private sealed class Functions(nint library)
    {
        internal readonly delegate* unmanaged<nint, int, uint, ulong, nint> Create =
            (delegate* unmanaged<nint, int, uint, ulong, nint>)NativeLibrary.GetExport(library, "ring_create");
        internal readonly delegate* unmanaged<nint, long, long> Run =
            (delegate* unmanaged<nint, long, long>)NativeLibrary.GetExport(library, "ring_run");
        internal readonly delegate* unmanaged<nint, void> Destroy =
            (delegate* unmanaged<nint, void>)NativeLibrary.GetExport(library, "ring_destroy");
    }
}
