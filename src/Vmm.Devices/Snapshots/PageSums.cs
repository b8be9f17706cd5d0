using System.Numerics;

namespace Vmm.Devices;

/// <summary>
/// Checksums of saved memory, whole pages. Each page has one (CRC-32C; 0 for a page of zeros), and each chunk of 512 pages has one of
/// theirs, which the saved state keeps. Pages may come in any order.
/// </summary>
internal sealed class PageSums(ulong bytes)
{
    internal const int PageBytes = 4096, PagesPerChunk = 512, ChunkBytes = PageBytes * PagesPerChunk;

    private readonly uint[] _pages = new uint[bytes / PageBytes];

    internal static int ChunkCount(ulong bytes) => (int)((bytes + ChunkBytes - 1) / ChunkBytes);

    /// <summary>Takes all bytes of a page that are not only zeros.</summary>
    internal void Set(long page, ReadOnlySpan<byte> content) => _pages[page] = Sum(content);

    /// <summary>The checksums of all chunks, four bytes each, little-endian.</summary>
    internal byte[] OfChunks()
    {
        byte[] sums = new byte[ChunkCount((ulong)_pages.Length * PageBytes) * sizeof(uint)];
        for (int chunk = 0; chunk * sizeof(uint) < sums.Length; chunk++)
        {
            Span<uint> pages = _pages.AsSpan(chunk * PagesPerChunk);
            BitConverter.TryWriteBytes(sums.AsSpan(chunk * sizeof(uint)), OfPages(pages[..Math.Min(PagesPerChunk, pages.Length)]));
        }
        return sums;
    }

    /// <summary>The checksum of all of a chunk: 2 MiB, or less at the end of the memory.</summary>
    internal static uint OfChunk(ReadOnlySpan<byte> content)
    {
        Span<uint> pages = stackalloc uint[PagesPerChunk];
        int count = 0;
        for (; content.Length >= PageBytes; content = content[PageBytes..])
            pages[count++] = IsZero(content[..PageBytes]) ? 0 : Sum(content[..PageBytes]);
        return OfPages(pages[..count]);
    }

    /// <summary>CRC-32C (Castagnoli) of bytes.</summary>
    internal static uint Sum(ReadOnlySpan<byte> bytes)
    {
        uint sum = uint.MaxValue;
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(bytes);
        foreach (ulong word in words) sum = BitOperations.Crc32C(sum, word);
        foreach (byte rest in bytes[(words.Length * sizeof(ulong))..]) sum = BitOperations.Crc32C(sum, rest);
        return ~sum;
    }

    internal static bool IsZero(ReadOnlySpan<byte> bytes) => !bytes.ContainsAnyExcept((byte)0);

    private static uint OfPages(Span<uint> pages) => Sum(MemoryMarshal.AsBytes(pages));
}
