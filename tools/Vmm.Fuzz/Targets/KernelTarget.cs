using System.Buffers.Binary;
using Vmm.Devices;
using Vmm.Devices.Kvm;

namespace Vmm.Fuzz;

/// <summary>
/// Kernel images of which any field may be anything: ELF files and bzImages. Each is refused with a sentence or lies in guest memory, where
/// its end says it does.
/// </summary>
internal sealed class KernelTarget(Tally tally) : IFuzzTarget
{
    private const int FileBytes = 4096;
    private const int SetupSectors = 3;
    private const ulong Memory = 4 << 20;

    private readonly GuestMemory _memory = BootLayout.CreateMemory(Memory);
    private readonly byte[] _page = new byte[ZeroPage.Length];

    public void Run(FuzzInput input)
    {
        byte[] file = new byte[FileBytes];
        if (input.OneIn(2)) WriteElf(file, input);
        else WriteBzImage(file, input);
        for (int i = input.Next(4); i > 0; i--) file[input.Next(input.OneIn(2) ? 0x290 : FileBytes)] = input.Byte();
        int length = input.OneIn(4) ? input.Next(FileBytes) : FileBytes;
        try
        {
            KernelEntry entry = LinuxKernel.Load(file.AsMemory(0, length), "kernel", _memory);
            tally.Add("loaded");
            BrokenPromiseException.Unless(entry.End <= Memory && entry.End > BootLayout.HighMemory,
                $"a kernel that ends at 0x{entry.End:x}");
            ZeroPage.Write(_page, entry, new BootHandover(E820Map.Of(_memory), 0, 0));
        }
        catch (BootException refused)
        {
            BrokenPromiseException.Unless(refused.Message.Length > 0, "a refusal without a word");
            tally.Add("refused");
        }
    }

    public void Dispose() => _memory.Dispose();

    private static void WriteElf(Span<byte> file, FuzzInput input)
    {
        "\u007fELF"u8.CopyTo(file);
        file[4] = 2;
        BinaryPrimitives.WriteUInt16LittleEndian(file[18..], 62);
        BinaryPrimitives.WriteUInt64LittleEndian(file[24..], input.Interesting());
        BinaryPrimitives.WriteUInt64LittleEndian(file[32..], input.OneIn(8) ? input.Interesting() : 64);
        BinaryPrimitives.WriteUInt16LittleEndian(file[54..], 56);
        int segments = 1 + input.Next(4);
        BinaryPrimitives.WriteUInt16LittleEndian(file[56..], input.OneIn(16) ? input.UInt16() : (ushort)segments);
        for (int i = 0; i < segments; i++)
        {
            Span<byte> segment = file[(64 + i * 56)..];
            bool note = input.OneIn(3);
            ulong bytes = input.OneIn(8) ? input.Interesting() : input.UInt16() % (FileBytes / 2u);
            BinaryPrimitives.WriteUInt32LittleEndian(segment, note ? 4u : 1u);
            BinaryPrimitives.WriteUInt64LittleEndian(segment[8..], input.OneIn(8) ? input.Interesting() : 1024);
            BinaryPrimitives.WriteUInt64LittleEndian(segment[24..], input.OneIn(4)
                ? input.Interesting() : BootLayout.HighMemory + input.UInt16());
            BinaryPrimitives.WriteUInt64LittleEndian(segment[32..], bytes);
            BinaryPrimitives.WriteUInt64LittleEndian(segment[40..], input.OneIn(4) ? input.Interesting() : bytes + input.Byte());
        }
        WriteNotes(file[1024..], input);
    }

    private static void WriteNotes(Span<byte> notes, FuzzInput input)
    {
        for (int at = 0, i = input.Next(4); i > 0 && at < 256; i--, at += 20)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(notes[at..], input.OneIn(4) ? (uint)input.Interesting() : 4);
            BinaryPrimitives.WriteUInt32LittleEndian(notes[(at + 4)..], input.OneIn(4) ? (uint)input.Interesting() : 4);
            BinaryPrimitives.WriteUInt32LittleEndian(notes[(at + 8)..], input.OneIn(4) ? (uint)input.Interesting() : 18);
            "Xen\0"u8.CopyTo(notes[(at + 12)..]);
        }
    }

    private static void WriteBzImage(Span<byte> file, FuzzInput input)
    {
        file[0x1f1] = input.OneIn(8) ? input.Byte() : (byte)SetupSectors;
        file[0x201] = input.OneIn(8) ? input.Byte() : (byte)0x66;
        BinaryPrimitives.WriteUInt32LittleEndian(file[0x202..], 0x5372_6448);
        BinaryPrimitives.WriteUInt16LittleEndian(file[0x206..], input.OneIn(8) ? input.UInt16() : (ushort)0x20f);
        BinaryPrimitives.WriteUInt32LittleEndian(file[0x22c..], (uint)input.Interesting());
        BinaryPrimitives.WriteUInt16LittleEndian(file[0x236..], input.OneIn(8) ? input.UInt16() : (ushort)1);
        BinaryPrimitives.WriteUInt32LittleEndian(file[0x238..], (uint)input.Interesting());
        BinaryPrimitives.WriteUInt64LittleEndian(file[0x258..], input.OneIn(4)
            ? input.Interesting() : BootLayout.HighMemory + input.UInt16());
        BinaryPrimitives.WriteUInt32LittleEndian(file[0x260..], input.OneIn(4) ? (uint)input.Interesting() : input.UInt16());
    }
}
