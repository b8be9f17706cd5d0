namespace Vmm.EndToEnd;

/// <summary>A kernel of a few instructions that counts: a number in eight letters on each line of its serial port, 'A' for 0 to 'P' for 15.</summary>
internal static class TickingKernel
{
    private static ReadOnlySpan<byte> Code =>
    [
        0xba, 0xf8, 0x03, 0x00, 0x00, // mov edx, 0x3f8
        0x31, 0xdb,                   // xor ebx, ebx
        0xff, 0xc3,                   // next: inc ebx
        0xb9, 0x08, 0x00, 0x00, 0x00, // mov ecx, 8
        0xc1, 0xc3, 0x04,             // digit: rol ebx, 4
        0x88, 0xd8,                   // mov al, bl
        0x24, 0x0f,                   // and al, 15
        0x04, 0x41,                   // add al, 'A'
        0xee,                         // out dx, al
        0xff, 0xc9,                   // dec ecx
        0x75, 0xf2,                   // jnz digit
        0xb0, 0x0a,                   // mov al, '\n'
        0xee,                         // out dx, al
        0xb9, 0x50, 0xc3, 0x00, 0x00, // mov ecx, 50000
        0xff, 0xc9,                   // spin: dec ecx
        0x75, 0xfc,                   // jnz spin
        0xeb, 0xdd,                   // jmp next
    ];

    /// <summary>Writes it as an ELF file.</summary>
    internal static void Write(string path) => TinyKernel.Write(path, Code);

    /// <summary>Writes one that fills the memory from 4 MiB on with data first.</summary>
    internal static void Write(string path, int endMiB)
    {
        byte[] fill =
        [
            0xbf, 0x00, 0x00, 0x40, 0x00,             // mov edi, 4 MiB
            0x48, 0xff, 0x07,                         // page: inc qword [rdi]
            0x48, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, // add rdi, 4096
            0x48, 0x81, 0xff, 0x00, 0x00, 0x00, 0x00, // cmp rdi, end
            0x72, 0xed,                               // jb page
        ];
        BitConverter.TryWriteBytes(fill.AsSpan(18), endMiB << 20);
        TinyKernel.Write(path, [.. fill, .. Code]);
    }

    /// <summary>Writes one that resets the machine after it has counted.</summary>
    internal static void WriteResetting(string path, int count)
    {
        // In place of the jump: cmp ebx, count; jb next; mov al, 0xfe; out 0x64, al; hlt.
        byte[] reset = [0x81, 0xfb, 0, 0, 0, 0, 0x72, 0xd7, 0xb0, 0xfe, 0xe6, 0x64, 0xf4];
        BitConverter.TryWriteBytes(reset.AsSpan(2), count);
        TinyKernel.Write(path, [.. Code[..^2], .. reset]);
    }

    /// <summary>The numbers among the lines that a guest has printed.</summary>
    internal static uint[] Numbers(IEnumerable<string> lines) =>
        [.. lines.Where(line => line.Length == 8 && line.All(letter => letter is >= 'A' and <= 'P'))
            .Select(line => line.Aggregate(0u, (number, letter) => number << 4 | (uint)(letter - 'A')))];
}
