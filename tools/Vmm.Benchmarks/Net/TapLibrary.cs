using System.Runtime.InteropServices;

namespace Vmm.Benchmarks;

/// <summary>The functions of tap_baseline.c.</summary>
internal static unsafe class TapLibrary
{
    /// <summary>Frames that a TAP's queue is filled up with before each slice: more than a slice takes out.</summary>
    internal const int FillTo = 4_000;

    private static readonly Lazy<Functions> Loaded = new(() => new Functions(BaselineLibrary.Load("tap_baseline.c")));
    private static int _named;

    /// <summary>A name no other interface has.</summary>
    internal static string NewName() => $"vmb{Environment.ProcessId % 1_000_000}x{_named++}";

    // SAFETY for all calls: the signatures of these function pointers are those of tap_baseline.c, which was compiled from the file beside
    // us.
    internal static nint Create(string name, int frame)
    {
        nint text = Marshal.StringToCoTaskMemUTF8(name);
        nint tap = Loaded.Value.Create(text, (uint)frame);
        Marshal.FreeCoTaskMem(text);
        return tap != 0 ? tap : throw new IOException("the C baseline cannot make a TAP: it needs root and /dev/net/tun");
    }

    internal static int OpenOtherSide(string name)
    {
        nint text = Marshal.StringToCoTaskMemUTF8(name);
        int other = Loaded.Value.OtherSide(text);
        Marshal.FreeCoTaskMem(text);
        return other >= 0 ? other : throw new IOException($"cannot reach the other side of tap '{name}': that needs root");
    }

    internal static int OtherOf(nint tap) => Loaded.Value.Other(tap);

    internal static void Fill(int other, int frame, long count)
    {
        long done = Loaded.Value.Fill(other, (uint)frame, count);
        if (done != count) throw new IOException($"the TAP took {done} of {count} frames");
    }

    internal static void Read(nint tap, long count) => Check(Loaded.Value.Read(tap, count), count);

    internal static void Write(nint tap, long count) => Check(Loaded.Value.Write(tap, count), count);

    internal static void Destroy(nint tap) => Loaded.Value.Destroy(tap);

    private static void Check(long done, long asked)
    {
        if (done != asked) throw new InvalidOperationException($"the C baseline moved {done} of {asked} frames");
    }

    private sealed class Functions(nint library)
    {
        internal readonly delegate* unmanaged<nint, uint, nint> Create =
            (delegate* unmanaged<nint, uint, nint>)NativeLibrary.GetExport(library, "tap_create");
        internal readonly delegate* unmanaged<nint, int> OtherSide =
            (delegate* unmanaged<nint, int>)NativeLibrary.GetExport(library, "tap_other_side");
        internal readonly delegate* unmanaged<nint, int> Other =
            (delegate* unmanaged<nint, int>)NativeLibrary.GetExport(library, "tap_other");
        internal readonly delegate* unmanaged<int, uint, long, long> Fill =
            (delegate* unmanaged<int, uint, long, long>)NativeLibrary.GetExport(library, "tap_fill");
        internal readonly delegate* unmanaged<nint, long, long> Read =
            (delegate* unmanaged<nint, long, long>)NativeLibrary.GetExport(library, "tap_read");
        internal readonly delegate* unmanaged<nint, long, long> Write =
            (delegate* unmanaged<nint, long, long>)NativeLibrary.GetExport(library, "tap_write");
        internal readonly delegate* unmanaged<nint, void> Destroy =
            (delegate* unmanaged<nint, void>)NativeLibrary.GetExport(library, "tap_destroy");
    }
}
