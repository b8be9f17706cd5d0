using System.Buffers.Binary;

namespace Vmm.Devices.Kvm;

/// <summary>
/// The flat segments a kernel is entered with: a descriptor table in guest memory, and the same as the registers of a vCPU. The selectors
/// are those of the Linux boot protocol (__BOOT_CS, __BOOT_DS; Documentation/arch/x86/boot.rst).
/// </summary>
internal static class SegmentTable
{
    internal const ulong Address = 0x500;
    internal const int Length = 5 * sizeof(ulong);

    private const ushort CodeSelector = 0x10;
    private const ushort DataSelector = 0x18;
    private const ushort TaskSelector = 0x20;
    private const byte CodeType = 0xb;
    private const byte DataType = 0x3;
    private const byte BusyTaskType = 0xb;
    private const uint TaskLimit = 0x67;

    /// <summary>Writes the table into guest memory from address 0; <see cref="Set"/> makes a vCPU use it.</summary>
    internal static void Write(Span<byte> lowMemory, bool longMode)
    {
        Span<byte> table = lowMemory.Slice((int)Address, Length);
        table.Clear();
        Put(table, CodeSelector, longMode ? 0x00af_9b00_0000_ffffUL : 0x00cf_9b00_0000_ffffUL);
        Put(table, DataSelector, 0x00cf_9300_0000_ffff);
        Put(table, TaskSelector, 0x0000_8b00_0000_0067);
    }

    /// <summary>Sets the segment registers as if the guest had loaded them from the table.</summary>
    internal static void Set(ref KvmSregs sregs, bool longMode)
    {
        sregs.Gdt = new KvmDescriptorTable { Base = Address, Limit = Length - 1 };
        sregs.Idt = default;
        sregs.Cs = Flat(CodeSelector, CodeType, defaultBig: !longMode);
        sregs.Cs.Long = longMode ? (byte)1 : (byte)0;
        KvmSegment data = Flat(DataSelector, DataType, defaultBig: true);
        sregs.Ds = sregs.Es = sregs.Fs = sregs.Gs = sregs.Ss = data;
        sregs.Tr = new KvmSegment { Selector = TaskSelector, Limit = TaskLimit, Type = BusyTaskType, Present = 1 };
        sregs.Ldt = new KvmSegment { Unusable = 1 };
    }

    private static KvmSegment Flat(ushort selector, byte type, bool defaultBig) => new()
    {
        Selector = selector,
        Limit = uint.MaxValue,
        Type = type,
        Present = 1,
        CodeOrData = 1,
        Granularity = 1,
        DefaultBig = defaultBig ? (byte)1 : (byte)0,
    };

    private static void Put(Span<byte> table, ushort selector, ulong descriptor) =>
        BinaryPrimitives.WriteUInt64LittleEndian(table[selector..], descriptor);
}
