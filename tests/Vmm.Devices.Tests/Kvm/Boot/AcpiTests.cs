using System.Buffers.Binary;
using System.Diagnostics;
using System.Text;
using Vmm.Devices.Kvm;

namespace Vmm.Devices.Tests.Kvm;

[Collection(Alone.Name)]
public sealed class AcpiTests
{
    private const string Iasl = "/usr/bin/iasl";

    private static readonly byte[] Tables = AcpiTables.Build(BootLayout.AcpiTables, vcpus: 3,
        [new VirtioNode(0xd000_0000, 5), new VirtioNode(0xd000_1000, 6)]);

    [Theory]
    [InlineData(0, new byte[] { 0x01 })]
    [InlineData(62, new byte[] { 0x3f })]
    [InlineData(63, new byte[] { 0x41, 0x04 })]
    [InlineData(4093, new byte[] { 0x4f, 0xff })]
    [InlineData(4094, new byte[] { 0x81, 0x00, 0x01 })]
    [InlineData(1_048_572, new byte[] { 0x8f, 0xff, 0xff })]
    [InlineData(1_048_573, new byte[] { 0xc1, 0x00, 0x00, 0x01 })]
    public void A_terms_length_counts_its_own_bytes_ACPI_20_2_4(int body, byte[] expected) =>
        Assert.Equal(expected, Aml.PackageLength(body));

    [Fact]
    public void Integers_take_their_shortest_form_ACPI_20_2_3()
    {
        Assert.Equal([0x00], Aml.Integer(0));
        Assert.Equal([0x01], Aml.Integer(1));
        Assert.Equal([0x0a, 0xff], Aml.Integer(0xff));
        Assert.Equal([0x0b, 0x00, 0x01], Aml.Integer(0x100));
        Assert.Equal([0x0c, 0x00, 0x00, 0x01, 0x00], Aml.Integer(0x1_0000));
        Assert.Equal([0x0e, 0, 0, 0, 0, 1, 0, 0, 0], Aml.Integer(1UL << 32));
    }

    [Fact]
    public void A_plug_and_play_id_is_packed_ACPI_19_3_4() => Assert.Equal([0x0c, 0x41, 0xd0, 0x05, 0x01], Aml.EisaId("PNP0501"));

    [Fact]
    public void Every_table_adds_up_to_zero_and_is_reached_from_the_root()
    {
        Assert.Equal("RSD PTR ", Encoding.ASCII.GetString(Tables, 0, 8));
        Assert.Equal(0, Sum(Tables.AsSpan(0, 20)));
        Assert.Equal(0, Sum(Tables.AsSpan(0, 36)));
        Assert.Equal(["XSDT", "FACP", "DSDT", "APIC"], Found().Select(table => table.Name));
        Assert.All(Found(), table => Assert.Equal(0, Sum(table.Bytes)));
        Assert.All(Found(), table => Assert.Equal(0u, table.Offset % 16));
    }

    [Fact]
    public void The_machine_is_hardware_reduced_and_has_its_processors()
    {
        byte[] fadt = Found().Single(table => table.Name == "FACP").Bytes;
        Assert.NotEqual(0u, BinaryPrimitives.ReadUInt32LittleEndian(fadt.AsSpan(112)) & (1 << 20));
        byte[] madt = Found().Single(table => table.Name == "APIC").Bytes;
        Assert.Equal(44 + 3 * 8 + 12, madt.Length);
    }

    [Fact]
    public void The_reference_compiler_understands_every_table()
    {
        Assert.SkipUnless(File.Exists(Iasl), $"{Iasl} is not there: tools/test.sh installs it");
        string directory = Directory.CreateTempSubdirectory("vmm-acpi-").FullName;
        try
        {
            foreach ((string name, byte[] bytes, _) in Found())
            {
                string file = Path.Combine(directory, $"{name}.aml");
                File.WriteAllBytes(file, bytes);
                Run("-d", file);
            }
            string source = File.ReadAllText(Path.Combine(directory, "DSDT.dsl"));
            Assert.Contains("Device (V001)", source);
            Assert.Contains("\"LNRO0005\"", source);
            Assert.Contains("0xD0001000", source);
            Assert.Contains("EisaId (\"PNP0501\")", source);
            Assert.Contains("Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive", source);
            Assert.Contains("Name (\\_S5, Package (0x04)", source);
            Assert.Contains("Notify (VGEN, 0x80)", source);
            Assert.Contains("EisaId (\"PNP0C0C\")", source);
            Assert.Contains("Notify (PWRB, 0x80)", source);
            Assert.Contains("If (PWRP)", source);
            Assert.Contains("If (CHGP)", source);
            Assert.Contains("OperationRegion (PWRR, SystemIO, 0x060C, One)", source);
            Assert.Contains("Device (HPC0)", source);
            Assert.Contains("Notify (HPC0, Zero)", source);
            Assert.Contains("OperationRegion (HPRG, SystemIO, 0x0608, 0x04)", source);
            Assert.Contains("If (P001)", source);
            Assert.Contains("\"VM_Gen_Counter\"", source);
            // Compiled again it gives no error either.
            Assert.Contains("0 Errors", Run(Path.Combine(directory, "DSDT.dsl")));
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static string Run(params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(Iasl, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"iasl {string.Join(' ', arguments)}: {output}{error.Result}");
        return output + error.Result;
    }

    /// <summary>The tables as a kernel walks them: root pointer, XSDT, what that lists, DSDT behind the FADT.</summary>
    private static List<(string Name, byte[] Bytes, uint Offset)> Found()
    {
        List<(string, byte[], uint)> found = [];
        byte[] xsdt = Add(BinaryPrimitives.ReadUInt64LittleEndian(Tables.AsSpan(24)));
        for (int at = 36; at < xsdt.Length; at += sizeof(ulong))
        {
            byte[] table = Add(BinaryPrimitives.ReadUInt64LittleEndian(xsdt.AsSpan(at)));
            if (Encoding.ASCII.GetString(table, 0, 4) == "FACP") Add(BinaryPrimitives.ReadUInt64LittleEndian(table.AsSpan(140)));
        }
        return found;

        byte[] Add(ulong address)
        {
            int offset = (int)(address - BootLayout.AcpiTables);
            byte[] table = Tables.AsSpan(offset, BinaryPrimitives.ReadInt32LittleEndian(Tables.AsSpan(offset + 4))).ToArray();
            found.Add((Encoding.ASCII.GetString(table, 0, 4), table, (uint)offset));
            return table;
        }
    }

    private static int Sum(ReadOnlySpan<byte> bytes)
    {
        byte sum = 0;
        foreach (byte value in bytes) sum += value;
        return sum;
    }
}
