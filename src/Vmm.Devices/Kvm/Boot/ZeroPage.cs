using System.Buffers.Binary;

namespace Vmm.Devices.Kvm;

/// <summary>What the 64-bit boot protocol hands the kernel (struct boot_params, Documentation/arch/x86/zero-page.rst).</summary>
internal static class ZeroPage
{
    internal const int Length = 4096;
    internal const int E820Count = 0x1e8;
    internal const int E820Table = 0x2d0;

    private const int E820EntriesMax = 128;
    private const int AcpiRootPointer = 0x70;
    private const int BootFlag = 0x1fe;
    private const int HeaderMagic = 0x202;
    private const int Version = 0x206;
    private const int LoaderType = 0x210;
    private const int LoadFlags = 0x211;
    private const int InitrdAddress = 0x218;
    private const int InitrdLength = 0x21c;
    private const int CommandLineAddress = 0x228;
    private const byte LoaderUndefined = 0xff;
    private const byte LoadedHigh = 1;

    /// <summary>Writes the page of 4096 bytes.</summary>
    internal static void Write(Span<byte> page, in KernelEntry kernel, in BootHandover handed)
    {
        page.Clear();
        kernel.SetupHeader.Span.CopyTo(page[BzImageKernel.HeaderOffset..]);
        if (kernel.SetupHeader.IsEmpty)
        {
            // An ELF file has no header to copy: say that there is one, of a version that knows every field used here.
            BinaryPrimitives.WriteUInt16LittleEndian(page[BootFlag..], 0xaa55);
            BinaryPrimitives.WriteUInt32LittleEndian(page[HeaderMagic..], 0x5372_6448);
            BinaryPrimitives.WriteUInt16LittleEndian(page[Version..], 0x20f);
        }
        page[LoaderType] = LoaderUndefined;
        page[LoadFlags] |= LoadedHigh;
        BinaryPrimitives.WriteUInt32LittleEndian(page[InitrdAddress..], (uint)handed.InitrdAddress);
        BinaryPrimitives.WriteUInt32LittleEndian(page[InitrdLength..], (uint)handed.InitrdLength);
        BinaryPrimitives.WriteUInt32LittleEndian(page[CommandLineAddress..], (uint)BootLayout.CommandLine);
        BinaryPrimitives.WriteUInt64LittleEndian(page[AcpiRootPointer..], handed.AcpiRoot);

        int count = Math.Min(handed.Map.Count, E820EntriesMax);
        page[E820Count] = (byte)count;
        for (int i = 0; i < count; i++)
        {
            // Packed: 20 bytes each.
            handed.Map[i].Write(page[(E820Table + i * 20)..]);
        }
    }
}
