namespace Vmm.Devices.Kvm;

/// <summary>
/// A vCPU as a record of saved state. Registers have their names; what only the processor and KVM understand is bytes, which KVM checks
/// when it takes them back.
/// </summary>
internal static class KvmVcpuRecord
{
    /// <summary>Most bytes of extended state: more than any processor has.</summary>
    private const int XsaveBytesMax = 1 << 16;

    /// <summary>Most bytes of a nested guest's state: a header and two pages.</summary>
    private const int NestedBytesMax = 3 << 12;

    private const int MsrsMax = 1024, CpuidEntriesMax = 256;

    private static readonly string[] Registers =
        ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags"];

    private static readonly string[] Controls = ["cr0", "cr2", "cr3", "cr4", "cr8", "efer", "apic-base"];

    internal static void Write(StateWriter record, KvmVcpuState state)
    {
        record.Add("run-state", (long)state.MpState.State);
        KvmRegs registers = state.Registers;
        ReadOnlySpan<ulong> values = MemoryMarshal.Cast<byte, ulong>(BytesOf(ref registers));
        for (int i = 0; i < Registers.Length; i++) record.Add(Registers[i], values[i]);
        WriteSystem(record.AddRecord("system"), state.SystemRegisters);
        record.Add("xsave", state.Xsave);
        KvmXcrs xcrs = state.Xcrs;
        record.Add("xcrs", BytesOf(ref xcrs));
        KvmDebugRegs debug = state.DebugRegisters;
        record.Add("debug-registers", BytesOf(ref debug));
        KvmVcpuEvents events = state.Events;
        record.Add("events", BytesOf(ref events));
        if (state.Lapic is { } lapic) record.Add("lapic", BytesOf(ref lapic));
        if (state.Nested is { } nested) record.Add("nested", nested);
        foreach (KvmMsrEntry msr in state.Msrs)
        {
            StateWriter item = record.AddItem("msrs");
            item.Add("index", (ulong)msr.Index);
            item.Add("value", msr.Data);
        }
    }

    /// <exception cref="StateException">Something is missing or has another size.</exception>
    internal static KvmVcpuState Read(StateReader record)
    {
        KvmRegs registers = default;
        Span<ulong> values = MemoryMarshal.Cast<byte, ulong>(BytesOf(ref registers));
        for (int i = 0; i < Registers.Length; i++) values[i] = record.UInt64(Registers[i]);
        return new KvmVcpuState
        {
            MpState = new KvmMpState { State = (uint)record.Int32("run-state", 0, ushort.MaxValue) },
            Registers = registers,
            SystemRegisters = ReadSystem(record.Record("system")),
            Xsave = record.Bytes("xsave", XsaveBytesMax),
            Xcrs = Read<KvmXcrs>(record, "xcrs"),
            DebugRegisters = Read<KvmDebugRegs>(record, "debug-registers"),
            Events = Read<KvmVcpuEvents>(record, "events"),
            Lapic = record.Has("lapic") ? Read<KvmLapicState>(record, "lapic") : null,
            Nested = record.Has("nested") ? ReadNested(record) : null,
            Msrs = [.. record.Items("msrs", MsrsMax).Select(item => new KvmMsrEntry
            {
                Index = (uint)item.UInt64("index", uint.MaxValue),
                Data = item.UInt64("value"),
            })],
        };
    }

    /// <summary>What the guest sees of its processor.</summary>
    internal static void WriteCpuid(StateWriter record, IEnumerable<KvmCpuidEntry> entries)
    {
        foreach (KvmCpuidEntry entry in entries)
        {
            StateWriter item = record.AddItem("cpuid");
            item.Add("function", (ulong)entry.Function);
            item.Add("index", (ulong)entry.Index);
            item.Add("flags", (ulong)entry.Flags);
            item.Add("eax", (ulong)entry.Eax);
            item.Add("ebx", (ulong)entry.Ebx);
            item.Add("ecx", (ulong)entry.Ecx);
            item.Add("edx", (ulong)entry.Edx);
        }
    }

    internal static KvmCpuidEntry[] ReadCpuid(StateReader record) =>
    [
        .. record.Items("cpuid", CpuidEntriesMax).Select(item => new KvmCpuidEntry
        {
            Function = Word(item, "function"),
            Index = Word(item, "index"),
            Flags = Word(item, "flags"),
            Eax = Word(item, "eax"),
            Ebx = Word(item, "ebx"),
            Ecx = Word(item, "ecx"),
            Edx = Word(item, "edx"),
        }),
    ];

    private static byte[] ReadNested(StateReader record)
    {
        byte[] nested = record.Bytes("nested", NestedBytesMax);
        // The kernel reads as many bytes as its header says.
        return nested.Length > 2 * sizeof(uint) && BitConverter.ToInt32(nested, sizeof(uint)) == nested.Length
            ? nested : throw record.Wrong("nested", $"has {nested.Length} bytes, and its header says another number");
    }

    /// <summary>A structure of the kernel that is kept as bytes.</summary>
    internal static T Read<T>(StateReader record, string name) where T : unmanaged
    {
        T value = default;
        Span<byte> room = BytesOf(ref value);
        byte[] bytes = record.Bytes(name, room.Length);
        if (bytes.Length != room.Length) throw record.Wrong(name, $"has {bytes.Length} bytes, not {room.Length}");
        bytes.CopyTo(room);
        return value;
    }

    internal static Span<byte> BytesOf<T>(ref T value) where T : unmanaged => MemoryMarshal.AsBytes(new Span<T>(ref value));

    private static void WriteSystem(StateWriter record, KvmSregs system)
    {
        ReadOnlySpan<KvmSegment> segments = MemoryMarshal.Cast<byte, KvmSegment>(BytesOf(ref system)[..(Segments.Length * SegmentBytes)]);
        for (int i = 0; i < Segments.Length; i++)
        {
            StateWriter segment = record.AddRecord(Segments[i]);
            segment.Add("selector", (ulong)segments[i].Selector);
            segment.Add("base", segments[i].Base);
            segment.Add("limit", (ulong)segments[i].Limit);
            segment.Add("access", Access(segments[i]));
        }
        WriteTable(record.AddRecord("gdt"), system.Gdt);
        WriteTable(record.AddRecord("idt"), system.Idt);
        ulong[] controls = [system.Cr0, system.Cr2, system.Cr3, system.Cr4, system.Cr8, system.Efer, system.ApicBase];
        for (int i = 0; i < Controls.Length; i++) record.Add(Controls[i], controls[i]);
        record.Add("interrupts", BytesOf(ref system)[^InterruptBytes..]);
    }

    private const int InterruptBytes = 4 * sizeof(ulong);

    private static readonly string[] Segments = ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"];

    private static int SegmentBytes => System.Runtime.CompilerServices.Unsafe.SizeOf<KvmSegment>();

    private static KvmSregs ReadSystem(StateReader record)
    {
        KvmSregs system = default;
        Span<KvmSegment> segments = MemoryMarshal.Cast<byte, KvmSegment>(BytesOf(ref system)[..(Segments.Length * SegmentBytes)]);
        for (int i = 0; i < Segments.Length; i++) segments[i] = ReadSegment(record.Record(Segments[i]));
        system.Gdt = ReadTable(record.Record("gdt"));
        system.Idt = ReadTable(record.Record("idt"));
        ulong[] controls = [.. Controls.Select(name => record.UInt64(name))];
        (system.Cr0, system.Cr2, system.Cr3, system.Cr4) = (controls[0], controls[1], controls[2], controls[3]);
        (system.Cr8, system.Efer, system.ApicBase) = (controls[4], controls[5], controls[6]);
        byte[] interrupts = record.Bytes("interrupts", InterruptBytes);
        if (interrupts.Length != InterruptBytes) throw record.Wrong("interrupts", $"has {interrupts.Length} bytes, not {InterruptBytes}");
        interrupts.CopyTo(BytesOf(ref system)[^InterruptBytes..]);
        return system;
    }

    private static void WriteTable(StateWriter record, in KvmDescriptorTable table)
    {
        record.Add("base", table.Base);
        record.Add("limit", (ulong)table.Limit);
    }

    private static KvmDescriptorTable ReadTable(StateReader record) =>
        new() { Base = record.UInt64("base"), Limit = (ushort)record.UInt64("limit", ushort.MaxValue) };

    /// <summary>The access rights of a segment, as processors keep them (Intel SDM vol. 3, § 24.4.1).</summary>
    private static ulong Access(in KvmSegment segment) =>
        (uint)(segment.Type & 0xf) | Bit(segment.CodeOrData, 4) | (ulong)(uint)(segment.PrivilegeLevel & 3) << 5 | Bit(segment.Present, 7)
        | Bit(segment.Available, 12) | Bit(segment.Long, 13) | Bit(segment.DefaultBig, 14) | Bit(segment.Granularity, 15)
        | Bit(segment.Unusable, 16);

    private static KvmSegment ReadSegment(StateReader record)
    {
        ulong access = record.UInt64("access", (1 << 17) - 1);
        return new KvmSegment
        {
            Selector = (ushort)record.UInt64("selector", ushort.MaxValue),
            Base = record.UInt64("base"),
            Limit = Word(record, "limit"),
            Type = (byte)(access & 0xf),
            CodeOrData = At(access, 4),
            PrivilegeLevel = (byte)((access >> 5) & 3),
            Present = At(access, 7),
            Available = At(access, 12),
            Long = At(access, 13),
            DefaultBig = At(access, 14),
            Granularity = At(access, 15),
            Unusable = At(access, 16),
        };
    }

    private static ulong Bit(byte value, int place) => value == 0 ? 0 : 1UL << place;

    private static byte At(ulong bits, int place) => (byte)((bits >> place) & 1);

    private static uint Word(StateReader record, string name) => (uint)record.UInt64(name, uint.MaxValue);
}
