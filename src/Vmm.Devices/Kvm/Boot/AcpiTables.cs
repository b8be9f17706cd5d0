using System.Buffers.Binary;
using System.Text;

namespace Vmm.Devices.Kvm;

/// <summary>A virtio-mmio device as the kernel finds it, or the place of one.</summary>
internal sealed record VirtioNode(ulong Address, uint Gsi);

/// <summary>
/// The ACPI tables of a machine without the fixed hardware of a PC (hardware-reduced, ACPI § 4.1): processors, interrupt controllers,
/// serial port, virtio devices, power button, power-off and reset.
/// </summary>
internal static class AcpiTables
{
    private const int HeaderBytes = 36;
    private const int RootPointerBytes = 36;
    private const int FadtBytes = 276;
    private const byte FadtRevision = 6;
    private const byte MadtRevision = 5;
    private const byte DsdtRevision = 2;
    private const byte XsdtRevision = 1;

    private const uint FlagResetRegister = 1 << 10;
    private const uint FlagHardwareReduced = 1 << 20;
    private const uint FlagWriteBackInvalidates = 1;
    private const uint FlagNoPowerButton = 1 << 4;
    private const uint FlagNoSleepButton = 1 << 5;
    /// <summary>Present, enabled, shown, functioning (ACPI § 6.3.7).</summary>
    private const ulong PresentAndWorks = 0xf;
    private const ushort BootNoVga = 1 << 2;

    /// <summary>Builds the tables, which will be in the first 4 GiB. The APIC ids of processors are 0 and up.</summary>
    /// <returns>Bytes that begin with the root pointer.</returns>
    internal static byte[] Build(ulong address, int vcpus, IReadOnlyList<VirtioNode> slots)
    {
        TableWriter tables = new(address, RootPointerBytes);
        ulong dsdt = tables.Add(Table("DSDT", DsdtRevision, Dsdt(slots)));
        ulong fadt = tables.Add(Table("FACP", FadtRevision, Fadt(dsdt)));
        ulong madt = tables.Add(Table("APIC", MadtRevision, Madt(vcpus)));
        byte[] pointers = new byte[2 * sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(pointers, fadt);
        BinaryPrimitives.WriteUInt64LittleEndian(pointers.AsSpan(sizeof(ulong)), madt);
        ulong xsdt = tables.Add(Table("XSDT", XsdtRevision, pointers));
        byte[] image = tables.ToArray();
        WriteRootPointer(image.AsSpan(0, RootPointerBytes), xsdt);
        return image;
    }

    private static byte[] Dsdt(IReadOnlyList<VirtioNode> slots)
    {
        byte[] serial = Aml.Device("COM1",
            Aml.Name("_HID", Aml.EisaId("PNP0501")),
            Aml.Name("_UID", Aml.Integer(0)),
            Aml.Name("_CRS", Aml.Resources(Aml.Ports(MachinePorts.Serial, 8), Aml.Interrupt(MachinePorts.SerialGsi))));
        byte[] panic = Aml.Device("PEVT",
            Aml.Name("_HID", Aml.Text("QEMU0001")),
            Aml.Name("_CRS", Aml.Resources(Aml.Ports(MachinePorts.Panic, (byte)PvPanicDevice.RangeLength))));
        byte[] clock = Aml.Device("RTC0",
            Aml.Name("_HID", Aml.EisaId("PNP0B00")),
            Aml.Name("_CRS",
                Aml.Resources(Aml.Ports(MachinePorts.Clock, (byte)CmosDevice.RangeLength), Aml.Interrupt(MachinePorts.ClockGsi))));
        // Which run of the machine this is (Microsoft, "Virtual Machine Generation ID"): when it changes, Linux seeds its random
        // numbers anew.
        byte[] generation = Aml.Device("VGEN",
            Aml.Name("_HID", Aml.Text("VMM00001")),
            Aml.Name("_CID", Aml.Package(Aml.Text("VM_Gen_Counter"), Aml.Text("VMGENCTR"))),
            Aml.Name("_DDN", Aml.Text("VM_Gen_Counter")),
            Aml.Name("ADDR", Aml.Package(Aml.Integer(BootLayout.GenerationId), Aml.Integer(0))));
        byte[] events = Aml.Device("GED0",
            Aml.Name("_HID", Aml.Text("ACPI0013")),
            Aml.Name("_UID", Aml.Integer(0)),
            Aml.Name("_CRS", Aml.Resources(Aml.Interrupt(MachinePorts.EventGsi))),
            Aml.Method("_EVT", 1,
                // The event does not say what changed: the driver compares the generation id, and a bus check has Linux look at each place.
                // Linux unbinds no platform device for ACPI; a request to eject the container has it ask its user space to (an event
                // 'offline').
                Aml.Notify("VGEN", 0x80),
                Aml.IfSet("CHGP", Aml.Notify("HPC0", 0), Aml.Notify("HPC0", 3)),
                Aml.IfSet("PWRP", Aml.Notify("PWRB", 0x80))));
        byte[] pressed = Aml.PortBits("PWRR", MachinePorts.Events + (int)MachineEvents.PowerOffset, 1, ["PWRP"]);
        byte[] changed = Aml.PortBits("CHGR", MachinePorts.Events + (int)MachineEvents.ChangeOffset, 1, ["CHGP"]);
        // A control-method power button (ACPI § 4.8.2.2.1.2): the guest shuts itself down when it is pressed.
        byte[] button = Aml.Device("PWRB", Aml.Name("_HID", Aml.EisaId("PNP0C0C")), Aml.Name("_UID", Aml.Integer(0)));
        byte[][] virtio = new byte[slots.Count][];
        for (int i = 0; i < virtio.Length; i++)
        {
            virtio[i] = Aml.Device($"V{i:X3}",
                Aml.Method("_STA", 0, Aml.IfSet($"P{i:X3}", Aml.Return(PresentAndWorks)), Aml.Return(0)),
                Aml.Name("_HID", Aml.Text("LNRO0005")),
                Aml.Name("_UID", Aml.Integer((ulong)i)),
                Aml.Name("_CCA", Aml.Integer(1)),
                Aml.Name("_CRS", Aml.Resources(
                    Aml.Memory32((uint)slots[i].Address, (uint)VirtioMmioTransport.Length), Aml.Interrupt(slots[i].Gsi))));
        }
        // Linux looks for devices that came or went below a container.
        byte[] places = Aml.Device("HPC0",
        [
            Aml.Name("_HID", Aml.Text("ACPI0004")),
            Aml.Name("_UID", Aml.Integer(0)),
            Aml.PortBits("HPRG", MachinePorts.Events, (byte)MachineEvents.PowerOffset,
                Enumerable.Range(0, slots.Count).Select(i => $"P{i:X3}")),
            .. virtio,
        ]);
        byte[] off = Aml.Integer(AcpiPowerControl.SleepTypeOff);
        return
        [
            .. Aml.Scope("\\_SB", [serial, panic, clock, generation, button, pressed, changed, events, places]),
            .. Aml.Name("\\_S5", Aml.Package(off, off, Aml.Integer(0), Aml.Integer(0))),
        ];
    }

    /// <summary>Fixed description: only what hardware-reduced machines use (ACPI § 5.2.9).</summary>
    private static byte[] Fadt(ulong dsdt)
    {
        byte[] body = new byte[FadtBytes - HeaderBytes];
        Span<byte> table = body;
        BinaryPrimitives.WriteUInt32LittleEndian(At(table, 40), (uint)dsdt);
        BinaryPrimitives.WriteUInt16LittleEndian(At(table, 109), BootNoVga);
        BinaryPrimitives.WriteUInt32LittleEndian(At(table, 112),
            FlagWriteBackInvalidates | FlagNoPowerButton | FlagNoSleepButton | FlagResetRegister | FlagHardwareReduced);
        WritePortRegister(At(table, 116), MachinePorts.AcpiPower + AcpiPowerControl.ResetOffset);
        At(table, 128)[0] = AcpiPowerControl.ResetValue;
        BinaryPrimitives.WriteUInt64LittleEndian(At(table, 140), dsdt);
        WritePortRegister(At(table, 244), MachinePorts.AcpiPower + AcpiPowerControl.SleepControlOffset);
        WritePortRegister(At(table, 256), MachinePorts.AcpiPower + AcpiPowerControl.SleepStatusOffset);
        return body;

        static Span<byte> At(Span<byte> body, int tableOffset) => body[(tableOffset - HeaderBytes)..];
    }

    /// <summary>Interrupt controllers (ACPI § 5.2.12).</summary>
    private static byte[] Madt(int vcpus)
    {
        const int fixedBytes = 8;
        const int localApicBytes = 8;
        const int ioApicBytes = 12;
        byte[] body = new byte[fixedBytes + vcpus * localApicBytes + ioApicBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(body, (uint)BootLayout.LocalApic);
        Span<byte> rest = body.AsSpan(fixedBytes);
        for (int i = 0; i < vcpus; i++, rest = rest[localApicBytes..])
        {
            rest[1] = localApicBytes;
            rest[2] = rest[3] = (byte)i;
            rest[4] = 1; // enabled
        }
        rest[0] = 1;
        rest[1] = ioApicBytes;
        BinaryPrimitives.WriteUInt32LittleEndian(rest[4..], (uint)BootLayout.IoApic);
        return body;
    }

    private static byte[] Table(string signature, byte revision, byte[] body)
    {
        byte[] table = new byte[HeaderBytes + body.Length];
        Encoding.ASCII.GetBytes(signature, table);
        BinaryPrimitives.WriteUInt32LittleEndian(table.AsSpan(4), (uint)table.Length);
        table[8] = revision;
        Encoding.ASCII.GetBytes("VMM   VMMTABLE", table.AsSpan(10));
        BinaryPrimitives.WriteUInt32LittleEndian(table.AsSpan(24), 1);
        Encoding.ASCII.GetBytes("VMM ", table.AsSpan(28));
        BinaryPrimitives.WriteUInt32LittleEndian(table.AsSpan(32), 1);
        body.CopyTo(table, HeaderBytes);
        table[9] = Checksum(table);
        return table;
    }

    private static void WriteRootPointer(Span<byte> pointer, ulong xsdt)
    {
        const int firstPartBytes = 20;
        "RSD PTR "u8.CopyTo(pointer);
        "VMM   "u8.CopyTo(pointer[9..]);
        pointer[15] = 2;
        BinaryPrimitives.WriteUInt32LittleEndian(pointer[20..], RootPointerBytes);
        BinaryPrimitives.WriteUInt64LittleEndian(pointer[24..], xsdt);
        pointer[8] = Checksum(pointer[..firstPartBytes]);
        pointer[32] = Checksum(pointer);
    }

    /// <summary>A generic address structure: one byte in port space (ACPI § 5.2.3.2).</summary>
    private static void WritePortRegister(Span<byte> register, int port)
    {
        const byte systemIo = 1;
        const byte byteAccess = 1;
        register[0] = systemIo;
        register[1] = 8;
        register[3] = byteAccess;
        BinaryPrimitives.WriteUInt64LittleEndian(register[4..], (ulong)port);
    }

    /// <summary>The checksum: the byte with which all bytes add up to 0.</summary>
    private static byte Checksum(ReadOnlySpan<byte> bytes)
    {
        byte sum = 0;
        foreach (byte value in bytes) sum += value;
        return (byte)-sum;
    }

    /// <summary>Puts tables into memory, one behind the other.</summary>
    private sealed class TableWriter(ulong address, int reserved)
    {
        private const int Alignment = 16;
        private byte[] _bytes = new byte[reserved];

        internal ulong Add(byte[] table)
        {
            int place = (_bytes.Length + Alignment - 1) / Alignment * Alignment;
            Array.Resize(ref _bytes, place + table.Length);
            table.CopyTo(_bytes, place);
            return address + (ulong)place;
        }

        internal byte[] ToArray() => _bytes;
    }
}
