namespace Vmm.Devices;

/// <summary>
/// The part of a region that translations need: a guest address whose distance from the start is below the length lies in it, and the
/// offset added to it gives its host address. Valid while the <see cref="MemoryMap"/> that it came from is held; the default has no byte.
/// </summary>
internal readonly struct GuestExtent(ulong start, ulong length, nint host)
{
    internal readonly ulong Start = start;
    internal readonly ulong Length = length;
    /// <summary>Host address less guest address; it may wrap, and so does the sum.</summary>
    internal readonly nint Offset = unchecked(host - (nint)start);

    /// <summary>The host address of a guest address that lies in it.</summary>
    internal nint HostOf(ulong address) => unchecked((nint)address + Offset);
}
