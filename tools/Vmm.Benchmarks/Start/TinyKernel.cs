using System.Buffers.Binary;

namespace Vmm.Benchmarks;

/// <summary>Kernels of a few instructions.</summary>
internal static class TinyKernel
{
    private const ulong Address = 0x10_0000;
    private const int HeaderBytes = 64;
    private const int SegmentBytes = 56;

    /// <summary><c>mov dx, 0x3f8; mov al, '!'; out dx, al; again: hlt; jmp again</c>, in 64-bit code.</summary>
    internal static ReadOnlySpan<byte> PrintAndHalt => [0x66, 0xba, 0xf8, 0x03, 0xb0, 0x21, 0xee, 0xf4, 0xeb, 0xfd];

    /// <summary>
    /// <c>mov dx, 0x3f8; mov al, '!'; again: out dx, al; mov ecx, 1000; spin: dec ecx; jnz spin; jmp again</c>, in 64-bit code: slower than
    /// the port, in which no byte should wait when it is saved.
    /// </summary>
    internal static ReadOnlySpan<byte> PrintForEver =>
    [
        0x66, 0xba, 0xf8, 0x03, 0xb0, 0x21, 0xee, 0xb9, 0xe8, 0x03, 0x00, 0x00, 0xff, 0xc9, 0x75, 0xfc, 0xeb, 0xf4,
    ];

    /// <summary>
    /// <c>pass: mov rdi, 0x400000; page: inc qword [rdi]; add rdi, 4096; cmp rdi, 1 GiB; jb page; jmp pass</c>.
    /// </summary>
    internal static ReadOnlySpan<byte> WriteForEver =>
    [
        0x48, 0xc7, 0xc7, 0, 0, 0x40, 0, 0x48, 0xff, 0x07, 0x48, 0x81, 0xc7, 0, 0x10, 0, 0, 0x48, 0x81, 0xff, 0, 0, 0, 0x40, 0x72, 0xed,
        0xeb, 0xe4,
    ];

    /// <summary>Writes an ELF file.</summary>
    /// <param name="path">Where.</param>
    /// <param name="code">64-bit code, which may lie anywhere.</param>
    internal static void Write(string path, ReadOnlySpan<byte> code)
    {
        byte[] file = new byte[HeaderBytes + SegmentBytes + code.Length];
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
        BinaryPrimitives.WriteUInt64LittleEndian(segment[32..], (ulong)code.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[40..], (ulong)code.Length);
        code.CopyTo(segment[SegmentBytes..]);
        File.WriteAllBytes(path, file);
    }
}
