using System.Buffers.Binary;

namespace Vmm.Devices.Kvm;

/// <summary>
/// A compressed kernel: a bzImage, whose protected-mode part is copied to memory and entered in 64-bit mode; it unpacks itself
/// (Documentation/arch/x86/boot.rst, 64-bit boot protocol).
/// </summary>
internal sealed class BzImageKernel(ReadOnlyMemory<byte> file, string name)
{
    /// <summary>Where the setup header begins, in the file as in the zero page.</summary>
    internal const int HeaderOffset = 0x1f1;

    private const int SectorBytes = 512;
    private const int ParagraphBytes = 16;
    private const int DefaultSetupSectors = 4;
    /// <summary>The 64-bit entry lies this far into the protected-mode part.</summary>
    private const ulong Entry64Offset = 0x200;
    private const ushort Entry64Flag = 1;
    private const ushort VersionWithEntry64 = 0x20c;

    /// <exception cref="BootException">The file is damaged, too old, or does not fit.</exception>
    internal KernelEntry Load(GuestMemory memory)
    {
        ReadOnlySpan<byte> bytes = file.Span;
        const int headerBytesMin = 0x268 - HeaderOffset;
        if (bytes.Length < HeaderOffset + headerBytesMin) throw new BootException($"'{name}' is damaged: it ends in its header");
        ushort version = BinaryPrimitives.ReadUInt16LittleEndian(bytes[0x206..]);
        ushort flags = BinaryPrimitives.ReadUInt16LittleEndian(bytes[0x236..]);
        if (version < VersionWithEntry64 || (flags & Entry64Flag) == 0)
            throw new BootException(
                $"'{name}' has no 64-bit entry (boot protocol {version >> 8}.{version & 0xff:d2}): use a 64-bit kernel from Linux 3.8 on");

        int setupSectors = bytes[HeaderOffset] == 0 ? DefaultSetupSectors : bytes[HeaderOffset];
        int setupBytes = (setupSectors + 1) * SectorBytes;
        if (setupBytes >= bytes.Length) throw new BootException($"'{name}' is damaged: it ends in its real-mode part");
        long protectedBytes = BinaryPrimitives.ReadUInt32LittleEndian(bytes[0x1f4..]) * (long)ParagraphBytes;
        if (setupBytes + protectedBytes > bytes.Length)
            throw new BootException($"'{name}' is damaged: it has {bytes.Length} bytes, its header says {setupBytes + protectedBytes}");
        ulong address = BinaryPrimitives.ReadUInt64LittleEndian(bytes[0x258..]);
        ulong initBytes = BinaryPrimitives.ReadUInt32LittleEndian(bytes[0x260..]);
        ReadOnlySpan<byte> kernel = bytes[setupBytes..];
        ulong needed = Math.Max(initBytes, (ulong)kernel.Length);
        if (address < BootLayout.HighMemory || !memory.Contains(address, needed))
            throw new BootException(
                $"'{name}' does not fit: it wants memory from 0x{address:x} to 0x{address + needed:x}; give the machine more");
        memory.TryWrite(address, kernel);

        // The header begins with a jump over itself: its operand is the header's length, counted from byte 0x202 on.
        int headerEnd = Math.Min(LinuxKernel.BzImageMagicOffset + bytes[0x201], ZeroPageHeaderEnd);
        return new KernelEntry(address + Entry64Offset, IsPvh: false, address + needed)
        {
            SetupHeader = file[HeaderOffset..headerEnd],
            InitrdLast = Math.Min(BinaryPrimitives.ReadUInt32LittleEndian(bytes[0x22c..]), BootLayout.Hole - 1),
            CommandLineMax = (int)Math.Min(BinaryPrimitives.ReadUInt32LittleEndian(bytes[0x238..]), BootLayout.CommandLineMax - 1),
        };
    }

    /// <summary>The zero page has room for the header up to here; the e820 map follows later.</summary>
    private const int ZeroPageHeaderEnd = 0x290;
}
