using System.Buffers.Binary;

namespace Vmm.Benchmarks;

/// <summary>Makes small ELF kernels: one loaded segment, and the PVH note if asked for.</summary>
internal static class ElfFile
{
    internal const ulong LoadAddress = 0x10_0000;
    internal const int HeaderBytes = 64 + 2 * 56;

    /// <param name="code">64-bit code, or 32-bit code for an entry by PVH.</param>
    /// <param name="pvh">Whether a note says where a hypervisor enters it in 32-bit mode.</param>
    /// <param name="address">Where the code is loaded, and entered.</param>
    /// <param name="memoryBytes">What it takes of memory; null for its length.</param>
    internal static byte[] Of(ReadOnlySpan<byte> code, bool pvh, ulong address = LoadAddress, ulong? memoryBytes = null)
    {
        byte[] note = [4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0, (byte)'X', (byte)'e', (byte)'n', 0, 0, 0, 0, 0];
        BinaryPrimitives.WriteUInt32LittleEndian(note.AsSpan(16), (uint)address);
        byte[] file = new byte[HeaderBytes + note.Length + code.Length];
        Span<byte> bytes = file;
        "\u007fELF"u8.CopyTo(bytes);
        bytes[4] = 2; // 64-bit
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[18..], 62); // x86-64
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[24..], address);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[32..], 64);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[54..], 56);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[56..], (ushort)(pvh ? 2 : 1));
        Segment(bytes[64..], kind: 1, HeaderBytes + note.Length, address, code.Length, memoryBytes ?? (ulong)code.Length);
        Segment(bytes[120..], kind: 4, HeaderBytes, 0, note.Length, 0);
        note.CopyTo(file, HeaderBytes);
        code.CopyTo(bytes[(HeaderBytes + note.Length)..]);
        return file;
    }

    private static void Segment(Span<byte> header, uint kind, int offset, ulong address, int fileBytes, ulong memoryBytes)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(header, kind);
        BinaryPrimitives.WriteUInt64LittleEndian(header[8..], (ulong)offset);
        BinaryPrimitives.WriteUInt64LittleEndian(header[24..], address);
        BinaryPrimitives.WriteUInt64LittleEndian(header[32..], (ulong)fileBytes);
        BinaryPrimitives.WriteUInt64LittleEndian(header[40..], memoryBytes);
    }
}
