using System.Buffers.Binary;

namespace Vmm.Devices.Simulation;

/// <summary>
/// What <c>fill</c> writes: each sector's content is a function of a seed and of the sector's number, 64 words of a counter-mode generator.
/// </summary>
internal static class DiskPattern
{
    private const int SectorSize = 512;
    private const int WordsPerSector = SectorSize / sizeof(ulong);
    private const ulong Golden = 0x9e3779b97f4a7c15;

    /// <summary>Writes the content of sectors.</summary>
    /// <param name="seed">What the content is made from.</param>
    /// <param name="sector">Number of the first sector.</param>
    /// <param name="sectors">Whole sectors to fill.</param>
    public static void Fill(ulong seed, ulong sector, Span<byte> sectors)
    {
        ulong counter = Start(seed, sector);
        for (int i = 0; i < sectors.Length; i += sizeof(ulong))
            BinaryPrimitives.WriteUInt64LittleEndian(sectors[i..], Mix(counter += Golden));
    }

    /// <summary>Compares sectors with what <see cref="Fill"/> writes.</summary>
    /// <returns>How many bytes from the first on, in words of 8, are right; all of them if that is the length.</returns>
    public static int Match(ulong seed, ulong sector, ReadOnlySpan<byte> sectors)
    {
        ulong counter = Start(seed, sector);
        int i = 0;
        while (i < sectors.Length && BinaryPrimitives.ReadUInt64LittleEndian(sectors[i..]) == Mix(counter += Golden)) i += sizeof(ulong);
        return i;
    }

    private static ulong Start(ulong seed, ulong sector) => Mix(seed) + sector * WordsPerSector * Golden;

    private static ulong Mix(ulong value)
    {
        value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
        value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
        return value ^ (value >> 31);
    }
}
