using System.Buffers.Binary;

namespace Vmm.Devices.Kvm;

/// <summary>
/// What the PVH protocol hands the kernel (struct hvm_start_info, xen/interface/hvm/start_info.h), version 1: with a map of memory.
/// </summary>
internal static class PvhStartInfo
{
    internal const int Length = 4096;

    private const uint Magic = 0x336e_c578;
    private const uint Version = 1;
    private const int ModuleOffset = 0x80;
    private const int MapOffset = 0x100;
    private const int MapEntryBytes = 24;
    private const int MapEntriesMax = (Length - MapOffset) / MapEntryBytes;

    /// <summary>
    /// Writes the structure, with its module and its map behind it, into the page at <see cref="BootLayout.PvhStartInfo"/>.
    /// </summary>
    internal static void Write(Span<byte> page, in BootHandover handed)
    {
        page.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(page, Magic);
        BinaryPrimitives.WriteUInt32LittleEndian(page[4..], Version);
        if (handed.InitrdLength > 0)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(page[12..], 1);
            BinaryPrimitives.WriteUInt64LittleEndian(page[16..], BootLayout.PvhStartInfo + ModuleOffset);
            BinaryPrimitives.WriteUInt64LittleEndian(page[ModuleOffset..], handed.InitrdAddress);
            BinaryPrimitives.WriteUInt64LittleEndian(page[(ModuleOffset + 8)..], handed.InitrdLength);
        }
        BinaryPrimitives.WriteUInt64LittleEndian(page[24..], BootLayout.CommandLine);
        BinaryPrimitives.WriteUInt64LittleEndian(page[32..], handed.AcpiRoot);
        BinaryPrimitives.WriteUInt64LittleEndian(page[40..], BootLayout.PvhStartInfo + MapOffset);

        int count = Math.Min(handed.Map.Count, MapEntriesMax);
        BinaryPrimitives.WriteUInt32LittleEndian(page[48..], (uint)count);
        for (int i = 0; i < count; i++)
        {
            handed.Map[i].Write(page[(MapOffset + i * MapEntryBytes)..]);
        }
    }
}
