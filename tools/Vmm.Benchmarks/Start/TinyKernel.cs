namespace Vmm.Benchmarks;

/// <summary>Kernels of a few instructions.</summary>
internal static class TinyKernel
{
    /// <summary><c>mov dx, 0x3f8; mov al, '!'; out dx, al; again: hlt; jmp again</c>, in 64-bit code.</summary>
    internal static ReadOnlySpan<byte> PrintAndHalt => [0x66, 0xba, 0xf8, 0x03, 0xb0, 0x21, 0xee, 0xf4, 0xeb, 0xfd];

    /// <summary>Where <see cref="PrintForEver"/> has what it prints.</summary>
    internal const int Letter = 0x20_0000;

    /// <summary>
    /// <c>mov edx, 0x3f8; again: mov al, [0x200000]; out dx, al; mov ecx, 1000; spin: dec ecx; jnz spin; jmp again</c>, in 64-bit code:
    /// what it prints after its memory was changed was printed after that.
    /// </summary>
    internal static ReadOnlySpan<byte> PrintForEver =>
    [
        0xba, 0xf8, 0x03, 0, 0, 0x8a, 0x04, 0x25, 0, 0, 0x20, 0, 0xee, 0xb9, 0xe8, 0x03, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xeb, 0xed,
    ];

    /// <summary>
    /// <c>pass: mov rdi, 0x400000; page: inc qword [rdi]; add rdi, 4096; cmp rdi, 1 GiB; jb page; jmp pass</c>.
    /// </summary>
    internal static ReadOnlySpan<byte> WriteForEver =>
    [
        0x48, 0xc7, 0xc7, 0, 0, 0x40, 0, 0x48, 0xff, 0x07, 0x48, 0x81, 0xc7, 0, 0x10, 0, 0, 0x48, 0x81, 0xff, 0, 0, 0, 0x40, 0x72, 0xed,
        0xeb, 0xe4,
    ];

    /// <summary>
    /// Writes a page after the other up to 1 GiB, once, and then each hundredth for ever:
    /// <c>mov rdi, 0x400000; page: inc qword [rdi]; add rdi, 4096; cmp rdi, 1 GiB; jb page; pass: mov rdi, 0x400000; some: inc qword [rdi];
    /// add rdi, 409600; cmp rdi, 1 GiB; jb some; jmp pass</c>.
    /// </summary>
    internal static ReadOnlySpan<byte> WriteSomeForEver =>
    [
        0x48, 0xc7, 0xc7, 0, 0, 0x40, 0, 0x48, 0xff, 0x07, 0x48, 0x81, 0xc7, 0, 0x10, 0, 0, 0x48, 0x81, 0xff, 0, 0, 0, 0x40, 0x72, 0xed,
        0x48, 0xc7, 0xc7, 0, 0, 0x40, 0, 0x48, 0xff, 0x07, 0x48, 0x81, 0xc7, 0, 0x40, 0x06, 0, 0x48, 0x81, 0xff, 0, 0, 0, 0x40, 0x72, 0xed,
        0xeb, 0xe4,
    ];

    /// <summary>
    /// Writes a page after the other up to 192 MiB, as a system does that boots, prints <c>'!'</c> and halts: <c>mov rdi, 0x400000; page:
    /// inc qword [rdi]; add rdi, 4096; cmp rdi, 192 MiB; jb page; mov edx, 0x3f8; mov al, '!'; out dx, al; stay: hlt; jmp stay</c>.
    /// </summary>
    internal static ReadOnlySpan<byte> FillAndHalt =>
    [
        0x48, 0xc7, 0xc7, 0, 0, 0x40, 0, 0x48, 0xff, 0x07, 0x48, 0x81, 0xc7, 0, 0x10, 0, 0, 0x48, 0x81, 0xff, 0, 0, 0, 0x0c, 0x72, 0xed,
        0xba, 0xf8, 0x03, 0, 0, 0xb0, 0x21, 0xee, 0xf4, 0xeb, 0xfd,
    ];

    /// <summary>Writes an ELF file.</summary>
    /// <param name="path">Where.</param>
    /// <param name="code">64-bit code, which may lie anywhere.</param>
    internal static void Write(string path, ReadOnlySpan<byte> code) => File.WriteAllBytes(path, ElfFile.Of(code, pvh: false));
}
