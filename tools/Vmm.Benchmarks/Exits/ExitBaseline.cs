using System.Runtime.InteropServices;

namespace Vmm.Benchmarks;

/// <summary>The loop of exits_baseline.c.</summary>
internal sealed unsafe class ExitBaseline : IContender
{
    private static readonly Lazy<Functions> Loaded = new(() => new Functions(BaselineLibrary.Load("exits_baseline.c")));

    private readonly nint _exits;

    internal ExitBaseline()
    {
        fixed (byte* code = RegisterReads.Code)
        {
            // SAFETY: the signatures of these function pointers are those of exits_baseline.c, which was compiled from the file beside us;
            // the code is copied during the call.
            _exits = Loaded.Value.Create(code, RegisterReads.Code.Length);
        }
        if (_exits == 0) throw new IOException("the C baseline finds no KVM that it can use: is there a /dev/kvm, and may you open it?");
    }

    public void Run(long operations)
    {
        long done = Loaded.Value.Run(_exits, operations);
        if (done != operations) throw new InvalidOperationException($"the C baseline answered {done} of {operations} exits");
    }

    public void Dispose() => Loaded.Value.Destroy(_exits);

    private sealed class Functions(nint library)
    {
        internal readonly delegate* unmanaged<byte*, int, nint> Create =
            (delegate* unmanaged<byte*, int, nint>)NativeLibrary.GetExport(library, "exits_create");
        internal readonly delegate* unmanaged<nint, long, long> Run =
            (delegate* unmanaged<nint, long, long>)NativeLibrary.GetExport(library, "exits_run");
        internal readonly delegate* unmanaged<nint, void> Destroy =
            (delegate* unmanaged<nint, void>)NativeLibrary.GetExport(library, "exits_destroy");
    }
}
