using System.Buffers.Binary;

namespace Vmm.Devices.Kvm;

/// <summary>Page tables that map the first 4 GiB to themselves with 2 MiB pages, for a kernel that is entered in 64-bit mode.</summary>
internal static class PageTables
{
    internal const ulong Root = 0x9000;
    internal const int Length = (2 + Directories) * PageBytes;

    private const int PageBytes = 4096;
    private const int Directories = 4;
    private const int EntriesPerTable = 512;
    private const ulong PresentWritable = 0x3;
    private const ulong LargePage = 0x80;
    private const int LargePageShift = 21;

    /// <summary>Writes the tables into guest memory from address 0.</summary>
    internal static void Write(Span<byte> lowMemory)
    {
        Span<byte> tables = lowMemory.Slice((int)Root, Length);
        tables.Clear();
        Put(tables, 0, (Root + PageBytes) | PresentWritable);
        for (int directory = 0; directory < Directories; directory++)
        {
            int offset = (2 + directory) * PageBytes;
            Put(tables, PageBytes + directory * sizeof(ulong), (Root + (ulong)offset) | PresentWritable);
            for (int entry = 0; entry < EntriesPerTable; entry++)
            {
                ulong page = (ulong)(directory * EntriesPerTable + entry) << LargePageShift;
                Put(tables, offset + entry * sizeof(ulong), page | PresentWritable | LargePage);
            }
        }
    }

    private static void Put(Span<byte> tables, int offset, ulong value) =>
        BinaryPrimitives.WriteUInt64LittleEndian(tables[offset..], value);
}
