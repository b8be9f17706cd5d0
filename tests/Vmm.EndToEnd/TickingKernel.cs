using System.Buffers.Binary;

namespace Vmm.EndToEnd;

/// <summary>A kernel of a few instructions that counts: a number in eight letters on each line of its serial port, 'A' for 0 to 'P' for 15.</summary>
internal static class TickingKernel
{
    private const uint Address = 0x10_0000;
    private const int HeaderBytes = 64 + 2 * 56;

    private static ReadOnlySpan<byte> Code =>
    [
        0xba, 0xf8, 0x03, 0x00, 0x00, // mov edx, 0x3f8
        0x31, 0xdb,                   // xor ebx, ebx
        0x43,                         // next: inc ebx
        0xb9, 0x08, 0x00, 0x00, 0x00, // mov ecx, 8
        0xc1, 0xc3, 0x04,             // digit: rol ebx, 4
        0x88, 0xd8,                   // mov al, bl
        0x24, 0x0f,                   // and al, 15
        0x04, 0x41,                   // add al, 'A'
        0xee,                         // out dx, al
        0x49,                         // dec ecx
        0x75, 0xf3,                   // jnz digit
        0xb0, 0x0a,                   // mov al, '\n'
        0xee,                         // out dx, al
        0xb9, 0x50, 0xc3, 0x00, 0x00, // mov ecx, 50000
        0x49,                         // spin: dec ecx
        0x75, 0xfd,                   // jnz spin
        0xeb, 0xe0,                   // jmp next
    ];

    /// <summary>Writes it as an ELF file with a PVH entry.</summary>
    internal static void Write(string path)
    {
        byte[] note = [4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0, (byte)'X', (byte)'e', (byte)'n', 0, 0, 0, 0, 0];
        BinaryPrimitives.WriteUInt32LittleEndian(note.AsSpan(16), Address);
        byte[] file = new byte[HeaderBytes + note.Length + Code.Length];
        Span<byte> bytes = file;
        "\u007fELF"u8.CopyTo(bytes);
        bytes[4] = 2;
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[18..], 62);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[24..], Address);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[32..], 64);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[54..], 56);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[56..], 2);
        Segment(bytes[64..], 1, HeaderBytes + note.Length, Address, Code.Length);
        Segment(bytes[120..], 4, HeaderBytes, 0, note.Length);
        note.CopyTo(file, HeaderBytes);
        Code.CopyTo(bytes[(HeaderBytes + note.Length)..]);
        File.WriteAllBytes(path, file);
    }

    /// <summary>The numbers among the lines that a guest has printed.</summary>
    internal static uint[] Numbers(IEnumerable<string> lines) =>
        [.. lines.Where(line => line.Length == 8 && line.All(letter => letter is >= 'A' and <= 'P'))
            .Select(line => line.Aggregate(0u, (number, letter) => number << 4 | (uint)(letter - 'A')))];

    private static void Segment(Span<byte> header, uint kind, int offset, ulong address, int length)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(header, kind);
        BinaryPrimitives.WriteUInt64LittleEndian(header[8..], (ulong)offset);
        BinaryPrimitives.WriteUInt64LittleEndian(header[24..], address);
        BinaryPrimitives.WriteUInt64LittleEndian(header[32..], (ulong)length);
        BinaryPrimitives.WriteUInt64LittleEndian(header[40..], (ulong)length);
    }
}
