using System.Buffers.Binary;

namespace Vmm.Devices.Kvm;

/// <summary>
/// An uncompressed kernel: a 64-bit ELF file whose segments are copied to their physical addresses. Entered by PVH if it carries the note
/// that says where (XEN_ELFNOTE_PHYS32_ENTRY), else at its 64-bit entry.
/// </summary>
internal sealed class ElfKernel(ReadOnlyMemory<byte> file, string name)
{
    private const int HeaderBytes = 64;
    private const int SegmentHeaderBytes = 56;
    /// <summary>A vmlinux has five segments; a file with more than this is not one.</summary>
    private const int SegmentsMax = 64;
    private const byte Class64 = 2;
    private const ushort MachineX64 = 62;
    // Objects and modules are relocatable, programs of today are shared objects; a vmlinux is neither.
    private const ushort TypeRelocatable = 1;
    private const ushort TypeShared = 3;
    private const uint SegmentLoad = 1;
    private const uint SegmentNote = 4;
    private const uint NotePhysicalEntry = 18;

    /// <exception cref="BootException">The file is damaged, for another machine, or does not fit.</exception>
    internal KernelEntry Load(GuestMemory memory)
    {
        ReadOnlySpan<byte> bytes = file.Span;
        if (bytes.Length < HeaderBytes || bytes[4] != Class64 || BinaryPrimitives.ReadUInt16LittleEndian(bytes[18..]) != MachineX64)
            throw new BootException($"'{name}' is an ELF file, but none for 64-bit x86");
        ulong entry = BinaryPrimitives.ReadUInt64LittleEndian(bytes[24..]);
        ulong table = BinaryPrimitives.ReadUInt64LittleEndian(bytes[32..]);
        int count = BinaryPrimitives.ReadUInt16LittleEndian(bytes[56..]);
        if (BinaryPrimitives.ReadUInt16LittleEndian(bytes[54..]) != SegmentHeaderBytes || count is 0 or > SegmentsMax)
            throw new BootException($"'{name}' is an ELF file without segments to load");

        ulong end = 0;
        ulong? physicalEntry = null;
        bool isProgram = BinaryPrimitives.ReadUInt16LittleEndian(bytes[16..]) is TypeRelocatable or TypeShared;
        for (int i = 0; i < count; i++)
        {
            Segment segment = Segment.Parse(Slice(table + (ulong)(i * SegmentHeaderBytes), SegmentHeaderBytes));
            if (segment.Kind == SegmentNote) physicalEntry ??= FindEntryNote(Slice(segment.FileOffset, segment.FileLength));
        }
        if (isProgram && physicalEntry is null)
            throw new BootException(
                $"'{name}' is no Linux kernel but a program, a library or a module: a kernel is a vmlinux or a vmlinuz");
        for (int i = 0; i < count; i++)
        {
            Segment segment = Segment.Parse(Slice(table + (ulong)(i * SegmentHeaderBytes), SegmentHeaderBytes));
            if (segment is { Kind: SegmentLoad, MemoryLength: > 0 }) end = Math.Max(end, LoadSegment(segment, memory));
        }
        if (end == 0) throw new BootException($"'{name}' is an ELF file without segments to load");
        return new KernelEntry(physicalEntry ?? entry, physicalEntry is not null, end);
    }

    private ulong LoadSegment(in Segment segment, GuestMemory memory)
    {
        ulong end = unchecked(segment.Address + segment.MemoryLength);
        if (segment.FileLength > segment.MemoryLength || end < segment.Address)
            throw new BootException($"'{name}' is damaged: a segment's file part is longer than its memory");
        if (segment.Address < BootLayout.HighMemory || !memory.Contains(segment.Address, segment.MemoryLength))
            throw new BootException(
                $"'{name}' does not fit: it wants memory from 0x{segment.Address:x} to 0x{end:x}; give the machine more");
        // The rest of the segment is zero, as fresh memory is.
        memory.TryWrite(segment.Address, Slice(segment.FileOffset, segment.FileLength));
        return end;
    }

    /// <summary>The 32-bit entry of the PVH protocol, from the notes of a segment.</summary>
    private static ulong? FindEntryNote(ReadOnlySpan<byte> notes)
    {
        const int noteHeader = 12;
        while (notes.Length >= noteHeader)
        {
            uint nameLength = BinaryPrimitives.ReadUInt32LittleEndian(notes);
            uint valueLength = BinaryPrimitives.ReadUInt32LittleEndian(notes[4..]);
            uint kind = BinaryPrimitives.ReadUInt32LittleEndian(notes[8..]);
            ulong value = noteHeader + Align(nameLength);
            if (value + valueLength > (ulong)notes.Length) return null;
            if (kind == NotePhysicalEntry && notes.Slice(noteHeader, (int)nameLength).SequenceEqual("Xen\0"u8) && valueLength is 4 or 8)
            {
                ReadOnlySpan<byte> address = notes.Slice((int)value, (int)valueLength);
                return valueLength == 4
                    ? BinaryPrimitives.ReadUInt32LittleEndian(address) : BinaryPrimitives.ReadUInt64LittleEndian(address);
            }
            ulong next = value + Align(valueLength);
            notes = notes[(int)Math.Min(next, (ulong)notes.Length)..];
        }
        return null;
    }

    private ReadOnlySpan<byte> Slice(ulong offset, ulong length)
    {
        if (offset > (ulong)file.Length || length > (ulong)file.Length - offset)
            throw new BootException($"'{name}' is damaged: it ends before the {length} bytes at 0x{offset:x} that its headers name");
        return file.Span.Slice((int)offset, (int)length);
    }

    private static ulong Align(uint length) => ((ulong)length + 3) & ~3UL;

    private readonly record struct Segment(uint Kind, ulong FileOffset, ulong Address, ulong FileLength, ulong MemoryLength)
    {
        internal static Segment Parse(ReadOnlySpan<byte> header) => new(
            BinaryPrimitives.ReadUInt32LittleEndian(header),
            BinaryPrimitives.ReadUInt64LittleEndian(header[8..]),
            BinaryPrimitives.ReadUInt64LittleEndian(header[24..]),
            BinaryPrimitives.ReadUInt64LittleEndian(header[32..]),
            BinaryPrimitives.ReadUInt64LittleEndian(header[40..]));
    }
}
