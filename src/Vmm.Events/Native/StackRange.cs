namespace Vmm.Events.Native;

/// <summary>Where the stack of a thread lies. The length comes first: it is what the C library clears.</summary>
[StructLayout(LayoutKind.Sequential, Size = Libc.SignalSetBytes)]
internal struct StackRange
{
    internal nuint Bytes;
    internal nuint Lowest;
}
