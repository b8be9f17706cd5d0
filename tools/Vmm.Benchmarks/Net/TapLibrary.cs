using System.Runtime.InteropServices;

namespace Vmm.Benchmarks;

/// <summary>The functions of tap_baseline.c.</summary>
internal static partial class TapLibrary
{
    /// <summary>Frames that a TAP's queue is filled up with before each slice: more than a slice takes out.</summary>
    internal const int FillTo = 4_000;

    private const string Source = "tap_baseline.c";

    private static int _named;

    /// <summary>A name no other interface has.</summary>
    internal static string NewName() => $"vmb{Environment.ProcessId % 1_000_000}x{_named++}";

    internal static nint Create(string name, int frame) => CreateTap(name, (uint)frame) is not 0 and var tap
        ? tap : throw new IOException("the C baseline cannot make a TAP: it needs root and /dev/net/tun");

    internal static int OpenOtherSide(string name) => OtherSideOf(name) is >= 0 and var other
        ? other : throw new IOException($"cannot reach the other side of tap '{name}': that needs root");

    internal static void Fill(int other, int frame, long count)
    {
        long done = FillQueue(other, (uint)frame, count);
        if (done != count) throw new IOException($"the TAP took {done} of {count} frames");
    }

    internal static void Read(nint tap, long count) => Check(ReadFrames(tap, count), count);

    internal static void Write(nint tap, long count) => Check(WriteFrames(tap, count), count);

    [LibraryImport(Source, EntryPoint = "tap_other")]
    internal static partial int OtherOf(nint tap);

    [LibraryImport(Source, EntryPoint = "tap_destroy")]
    internal static partial void Destroy(nint tap);

    private static void Check(long done, long asked)
    {
        if (done != asked) throw new InvalidOperationException($"the C baseline moved {done} of {asked} frames");
    }

    [LibraryImport(Source, EntryPoint = "tap_create", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint CreateTap(string name, uint frame);

    [LibraryImport(Source, EntryPoint = "tap_other_side", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OtherSideOf(string name);

    [LibraryImport(Source, EntryPoint = "tap_fill")]
    private static partial long FillQueue(int other, uint frame, long count);

    [LibraryImport(Source, EntryPoint = "tap_read")]
    private static partial long ReadFrames(nint tap, long count);

    [LibraryImport(Source, EntryPoint = "tap_write")]
    private static partial long WriteFrames(nint tap, long count);
}
