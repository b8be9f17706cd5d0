using System.Runtime.InteropServices;

namespace Vmm.Benchmarks;

/// <summary>The loop of ring_baseline.c.</summary>
internal sealed partial class RingBaseline : IContender
{
    private const string Source = "ring_baseline.c";

    private readonly nint _loop;
    private readonly int _depth;

    internal RingBaseline(BlockFile file, int depth)
    {
        _depth = depth;
        _loop = Create(file.Path, file.IsDirect ? 1 : 0, (uint)depth, BlockFile.Blocks);
        if (_loop == 0) throw new IOException("the C baseline cannot set up io_uring, or open its file");
    }

    public int Quantum => RingRun.Quantum(_depth);

    public void Run(long operations)
    {
        long done = Run(_loop, operations);
        if (done != operations) throw new InvalidOperationException($"the C baseline read {done} of {operations} blocks");
    }

    public void Dispose() => Destroy(_loop);

    [LibraryImport(Source, EntryPoint = "ring_create", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint Create(string path, int direct, uint depth, ulong blocks);

    [LibraryImport(Source, EntryPoint = "ring_run")]
    private static partial long Run(nint loop, long operations);

    [LibraryImport(Source, EntryPoint = "ring_destroy")]
    private static partial void Destroy(nint loop);
}
