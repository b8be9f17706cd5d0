using System.Runtime.InteropServices;

namespace Vmm.Benchmarks;

/// <summary>The loop of exits_baseline.c.</summary>
internal sealed partial class ExitBaseline : IContender
{
    private const string Source = "exits_baseline.c";

    private readonly nint _exits = Create(RegisterReads.Code, RegisterReads.Code.Length);

    internal ExitBaseline()
    {
        if (_exits == 0) throw new IOException("the C baseline finds no KVM that it can use: is there a /dev/kvm, and may you open it?");
    }

    public void Run(long operations)
    {
        long done = Run(_exits, operations);
        if (done != operations) throw new InvalidOperationException($"the C baseline answered {done} of {operations} exits");
    }

    public void Dispose() => Destroy(_exits);

    [LibraryImport(Source, EntryPoint = "exits_create")]
    private static partial nint Create(ReadOnlySpan<byte> code, int codeBytes);

    [LibraryImport(Source, EntryPoint = "exits_run")]
    private static partial long Run(nint exits, long count);

    [LibraryImport(Source, EntryPoint = "exits_destroy")]
    private static partial void Destroy(nint exits);
}
