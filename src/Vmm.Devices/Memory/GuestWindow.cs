using System.Diagnostics;

namespace Vmm.Devices;

/// <summary>
/// A checked, aligned range of guest memory with the single loads and stores that rings need. Each member touches memory exactly once, with
/// its width. Valid while the hold it was resolved under is held. x86-64: guest order is host order.
/// </summary>
internal readonly unsafe struct GuestWindow
{
    private readonly byte* _start;
    private readonly ulong _length;

    private GuestWindow(nint start, ulong length)
    {
        _start = (byte*)start;
        _length = length;
    }

    internal ulong Length => _length;

    internal nint HostAddress => (nint)_start;

    /// <summary>
    /// A window over a range that lies in one region. The map is held as long as the window is used. The host address must be a multiple of
    /// the alignment, a power of two, or single accesses would not be atomic.
    /// </summary>
    internal static bool TryResolve(MemoryMap map, ulong address, ulong length, uint alignment, out GuestWindow window)
    {
        nint host = map.TranslateRange(address, length);
        bool usable = host != 0 && ((ulong)host & (alignment - 1)) == 0;
        window = usable ? new GuestWindow(host, length) : default;
        return usable;
    }

    /// <summary>Loads with acquire ordering.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ushort Load16(ulong offset)
    {
        Check(offset, sizeof(ushort));
        // SAFETY: inside the window (asserted), which is mapped while held.
        return Volatile.Read(ref *(ushort*)(_start + offset));
    }

    /// <summary>Loads with acquire ordering.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal uint Load32(ulong offset)
    {
        Check(offset, sizeof(uint));
        // SAFETY: inside the window (asserted), which is mapped while held.
        return Volatile.Read(ref *(uint*)(_start + offset));
    }

    /// <summary>Loads with acquire ordering.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ulong Load64(ulong offset)
    {
        Check(offset, sizeof(ulong));
        // SAFETY: inside the window (asserted), which is mapped while held.
        return Volatile.Read(ref *(ulong*)(_start + offset));
    }

    /// <summary>Stores with release ordering.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Store16(ulong offset, ushort value)
    {
        Check(offset, sizeof(ushort));
        // SAFETY: inside the window (asserted), which is mapped while held.
        Volatile.Write(ref *(ushort*)(_start + offset), value);
    }

    /// <summary>Stores with release ordering.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Store32(ulong offset, uint value)
    {
        Check(offset, sizeof(uint));
        // SAFETY: inside the window (asserted), which is mapped while held.
        Volatile.Write(ref *(uint*)(_start + offset), value);
    }

    /// <summary>Stores with release ordering.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Store64(ulong offset, ulong value)
    {
        Check(offset, sizeof(ulong));
        // SAFETY: inside the window (asserted), which is mapped while held.
        Volatile.Write(ref *(ulong*)(_start + offset), value);
    }

    [Conditional("DEBUG")]
    private void Check(ulong offset, uint width) =>
        Debug.Assert(offset <= _length && width <= _length - offset && offset % width == 0, "outside of the window, or not aligned in it");
}
