namespace Vmm.Devices;

/// <summary>Zeroes to write where the host can't zero a range by itself.</summary>
internal static class BlockZeroes
{
    // Pinned for the ring; never written, so that it takes no memory beyond the kernel's own page of zeroes.
    private static readonly byte[] Bytes = GC.AllocateArray<byte>((int)BlockCalls.ZeroesMax, pinned: true);

    /// <summary>Zeroes at an address that does not move: as many as wanted, or as one call takes.</summary>
    internal static Span<byte> Some(ulong wanted) => Bytes.AsSpan(0, (int)Math.Min(wanted, (ulong)Bytes.Length));
}
