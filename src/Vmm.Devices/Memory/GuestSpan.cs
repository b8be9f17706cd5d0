namespace Vmm.Devices;

/// <summary>A range of guest memory that lies together in the host, too. Valid while the memory state that it came from is held.</summary>
internal readonly struct GuestSpan(ulong guest, nint host, ulong length)
{
    internal readonly ulong Guest = guest;
    internal readonly nint Host = host;
    internal readonly ulong Length = length;

    /// <summary>The host address that follows it.</summary>
    internal nint End => Host + (nint)Length;

    /// <summary>As the kernel takes it.</summary>
    internal IoVector Vector => new(Host, (nuint)Length);
}
