using System.Buffers.Binary;
using System.Text;
using Vmm.Devices.Kvm;
using Vmm.Devices.Native;

namespace Vmm.Devices.Tests.Kvm;

public sealed class LinuxKernelTests : IDisposable
{
    private const ulong MemoryBytes = 16 << 20;
    private readonly GuestMemory _memory = BootLayout.CreateMemory(MemoryBytes);
    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-boot-").FullName;

    public void Dispose()
    {
        _memory.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [Fact]
    public void An_elf_file_with_the_note_is_entered_by_pvh()
    {
        KernelEntry entry = LinuxKernel.Load(ElfFile.Of([1, 2, 3, 4], pvh: true, memoryBytes: 0x1000), "k", _memory);
        Assert.True(entry.IsPvh);
        Assert.Equal(ElfFile.LoadAddress, entry.Address);
        Assert.Equal(ElfFile.LoadAddress + 0x1000, entry.End);
        Assert.Equal([1, 2, 3, 4, 0], Read(ElfFile.LoadAddress, 5));
    }

    [Fact]
    public void An_elf_file_without_the_note_is_entered_in_64_bits()
    {
        KernelEntry entry = LinuxKernel.Load(ElfFile.Of([1], pvh: false), "k", _memory);
        Assert.False(entry.IsPvh);
        Assert.Equal(ElfFile.LoadAddress, entry.Address);
    }

    [Fact]
    public void A_bzImage_is_entered_behind_its_32_bit_entry()
    {
        KernelEntry entry = LinuxKernel.Load(BzImageFile.Of([7, 8]), "k", _memory);
        Assert.Equal(BzImageFile.Entry, entry.Address);
        Assert.Equal(BzImageFile.LoadAddress + 0x10_0000, entry.End);
        Assert.Equal([7, 8], Read(BzImageFile.Entry, 2));
    }

    [Fact]
    public void A_directory_is_refused_as_a_directory() =>
        Assert.Contains("is a directory", Assert.Throws<BootException>(() => new BootSource(_directory).Load(_memory)).Message, StringComparison.Ordinal);

    [Fact]
    public void Files_that_are_no_kernel_are_refused_in_a_sentence()
    {
        Refused("is no Linux kernel", []);
        Refused("is no Linux kernel", [0x7f, (byte)'E', (byte)'L', (byte)'F']);
        Refused("is no Linux kernel", Encoding.ASCII.GetBytes(new string('x', 4096)));
        Refused("none for 64-bit x86", Spoiled(file => file[18] = 3));
        Refused("is no Linux kernel but a program", Spoiled(file => file[16] = 1));
        Refused("is no Linux kernel but a program", File.ReadAllBytes("/bin/ls"));
        Refused("none for 64-bit x86", ElfFile.Of([1], pvh: false)[..60]);
        Refused("without segments", Spoiled(file => file[56] = 0));
        Refused("without segments", Spoiled(file => file[56] = 200));
        Refused("without segments", Spoiled(file => file[64] = 2));
        Refused("without segments", ElfFile.Of([], pvh: false));
        Refused("is damaged", Spoiled(file => BinaryPrimitives.WriteUInt64LittleEndian(file.AsSpan(32), ulong.MaxValue)));
        Refused("is damaged", Spoiled(file => BinaryPrimitives.WriteUInt64LittleEndian(file.AsSpan(72), ulong.MaxValue - 1)));
        Refused("is damaged", Spoiled(file => BinaryPrimitives.WriteUInt64LittleEndian(file.AsSpan(96), ulong.MaxValue)));
        Refused("is damaged", Spoiled(file => BinaryPrimitives.WriteUInt64LittleEndian(file.AsSpan(88), ulong.MaxValue)));
        Refused("does not fit", ElfFile.Of([1], pvh: false, address: MemoryBytes));
        Refused("does not fit", ElfFile.Of([1], pvh: false, address: 0x1000));
        Refused("does not fit", ElfFile.Of([1], pvh: false, memoryBytes: MemoryBytes));
        Refused("its header says", BzImageFile.Of([1], file => BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(0x1f4), 0x1_0000)));
        Refused("its header says", BzImageFile.Of([1], file => BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(0x1f4), uint.MaxValue)));
        Refused("no 64-bit entry", BzImageFile.Of([1], file => file[0x236] = 0));
        Refused("no 64-bit entry", BzImageFile.Of([1], file => file[0x206] = 0xb));
        Refused("ends in its header", BzImageFile.Of([1])[..0x220]);
        Refused("ends in its real-mode part", BzImageFile.Of([1], file => file[0x1f1] = 255));
        Refused("does not fit", BzImageFile.Of([1], file => BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(0x260), 0x7fff_ffff)));
        Refused("does not fit", BzImageFile.Of([1], file => BinaryPrimitives.WriteUInt64LittleEndian(file.AsSpan(0x258), ulong.MaxValue)));
    }

    [Fact]
    public void Any_damaged_file_is_refused_or_loaded_and_nothing_else()
    {
        Random random = new(1);
        byte[][] originals = [ElfFile.Of([1, 2, 3], pvh: true), BzImageFile.Of([1, 2, 3])];
        for (int round = 0; round < 20_000; round++)
        {
            byte[] file = (byte[])originals[round % 2].Clone();
            int headerBytes = round % 2 == 0 ? ElfFile.HeaderBytes + 20 : 0x270;
            for (int i = random.Next(1, 6); i > 0; i--) file[random.Next(headerBytes)] = random.Next(3) switch { 0 => 0xff, 1 => 0, _ => (byte)random.Next(256) };
            if (random.Next(8) == 0) file = file[..random.Next(file.Length)];
            try
            {
                LinuxKernel.Load(file, "k", _memory);
            }
            catch (BootException)
            {
                // The only way to refuse.
            }
        }
    }

    [Fact]
    public void The_zero_page_tells_of_memory_initrd_command_line_and_acpi()
    {
        string initrd = Write("initrd", new byte[5000]);
        BootSource source = new(Write("k", BzImageFile.Of([1])), initrd, "quiet");
        (EntryMode mode, KvmRegs registers) = source.Load(_memory, acpi: true);
        Assert.Equal((EntryMode.Long, BzImageFile.Entry, BootLayout.ZeroPage), (mode, registers.Rip, registers.Rsi));
        byte[] page = Read(BootLayout.ZeroPage, 4096);
        Assert.Equal(0xff, page[0x210]);
        Assert.Equal(MemoryBytes - 8192, BinaryPrimitives.ReadUInt32LittleEndian(page.AsSpan(0x218)));
        Assert.Equal(5000u, BinaryPrimitives.ReadUInt32LittleEndian(page.AsSpan(0x21c)));
        Assert.Equal(BootLayout.AcpiTables, BinaryPrimitives.ReadUInt64LittleEndian(page.AsSpan(0x70)));
        Assert.Equal("quiet\0"u8.ToArray(), Read(BinaryPrimitives.ReadUInt32LittleEndian(page.AsSpan(0x228)), 6));
        Assert.Equal(3, page[ZeroPage.E820Count]);
        Assert.Equal(MemoryBytes - BootLayout.HighMemory, BinaryPrimitives.ReadUInt64LittleEndian(page.AsSpan(ZeroPage.E820Table + 2 * 20 + 8)));
    }

    [Fact]
    public void The_pvh_start_info_tells_the_same()
    {
        BootSource source = new(Write("k", ElfFile.Of([1], pvh: true)), Write("initrd", [9, 9]), "quiet");
        (EntryMode mode, KvmRegs registers) = source.Load(_memory, acpi: true);
        Assert.Equal((EntryMode.Protected, BootLayout.PvhStartInfo), (mode, registers.Rbx));
        byte[] info = Read(BootLayout.PvhStartInfo, 4096);
        Assert.Equal(0x336e_c578u, BinaryPrimitives.ReadUInt32LittleEndian(info));
        int module = (int)(BinaryPrimitives.ReadUInt64LittleEndian(info.AsSpan(16)) - BootLayout.PvhStartInfo);
        Assert.Equal([9, 9], Read(BinaryPrimitives.ReadUInt64LittleEndian(info.AsSpan(module)), 2));
        Assert.Equal(2u, BinaryPrimitives.ReadUInt64LittleEndian(info.AsSpan(module + 8)));
        Assert.Equal("quiet\0"u8.ToArray(), Read(BinaryPrimitives.ReadUInt64LittleEndian(info.AsSpan(24)), 6));
        Assert.Equal(3u, BinaryPrimitives.ReadUInt32LittleEndian(info.AsSpan(48)));
    }

    [Fact]
    public void What_does_not_fit_beside_the_kernel_is_refused_in_a_sentence()
    {
        string kernel = Write("k", BzImageFile.Of([1]));
        Assert.Contains("does not fit", Assert.Throws<BootException>(() =>
            new BootSource(kernel, Write("initrd", new byte[MemoryBytes - 0x10_0000])).Load(_memory)).Message);
        Assert.Contains("there is no file ''", Assert.Throws<BootException>(() => new BootSource("").Load(_memory)).Message);
        Assert.Contains("takes 2047", Assert.Throws<BootException>(() => new BootSource(kernel, null, new string('x', 2048)).Load(_memory)).Message);
        Assert.Contains("zero byte", Assert.Throws<BootException>(() => new BootSource(kernel, null, "a\0b").Load(_memory)).Message);
        Assert.Contains("there is no file", Assert.Throws<BootException>(() => new BootSource("/nowhere").Load(_memory)).Message);
    }

    [Fact]
    public void Memory_beyond_the_hole_goes_on_at_4_GiB()
    {
        using GuestMemory memory = BootLayout.CreateMemory(5UL << 30);
        IReadOnlyList<E820Entry> map = E820Map.Of(memory);
        Assert.Equal(new E820Entry(BootLayout.HoleEnd, 2UL << 30, E820Kind.Memory), map[^1]);
        Assert.Equal(BootLayout.Hole, map[^2].Start + map[^2].Length);
    }

    private static byte[] Spoiled(Action<byte[]> spoil)
    {
        byte[] file = ElfFile.Of([1], pvh: false);
        spoil(file);
        return file;
    }

    private void Refused(string sentence, byte[] file) =>
        Assert.Contains(sentence, Assert.Throws<BootException>(() => LinuxKernel.Load(file, "k", _memory)).Message);

    private byte[] Read(ulong address, int length)
    {
        byte[] bytes = new byte[length];
        Assert.True(_memory.TryRead(address, bytes));
        return bytes;
    }

    private string Write(string name, byte[] bytes)
    {
        string path = Path.Combine(_directory, name);
        File.WriteAllBytes(path, bytes);
        return path;
    }
}
