using System.Buffers.Binary;

namespace Vmm.Benchmarks;

/// <summary>A kernel of ten bytes: it prints one to the serial port and halts.</summary>
internal static class TinyKernel
{
    private const ulong Address = 0x10_0000;
    private const int HeaderBytes = 64;
    private const int SegmentBytes = 56;

    /// <summary><c>mov dx, 0x3f8; mov al, '!'; out dx, al; again: hlt; jmp again</c>, in 64-bit code.</summary>
    private static ReadOnlySpan<byte> Code => [0x66, 0xba, 0xf8, 0x03, 0xb0, 0x21, 0xee, 0xf4, 0xeb, 0xfd];

    /// <summary>Writes it as an ELF file.</summary>
    /// <returns>The file.</returns>
    internal static string Write(string directory)
    {
        byte[] file = new byte[HeaderBytes + SegmentBytes + Code.Length];
        Span<byte> header = file;
        "\u007fELF"u8.CopyTo(header);
        header[4] = 2; // 64-bit
        BinaryPrimitives.WriteUInt16LittleEndian(header[18..], 62); // x86-64
        BinaryPrimitives.WriteUInt64LittleEndian(header[24..], Address);
        BinaryPrimitives.WriteUInt64LittleEndian(header[32..], HeaderBytes);
        BinaryPrimitives.WriteUInt16LittleEndian(header[54..], SegmentBytes);
        BinaryPrimitives.WriteUInt16LittleEndian(header[56..], 1);
        Span<byte> segment = header[HeaderBytes..];
        BinaryPrimitives.WriteUInt32LittleEndian(segment, 1); // to be loaded
        BinaryPrimitives.WriteUInt64LittleEndian(segment[8..], HeaderBytes + SegmentBytes);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[24..], Address);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[32..], (ulong)Code.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[40..], (ulong)Code.Length);
        Code.CopyTo(segment[SegmentBytes..]);
        string path = Path.Combine(directory, "kernel");
        File.WriteAllBytes(path, file);
        return path;
    }
}
