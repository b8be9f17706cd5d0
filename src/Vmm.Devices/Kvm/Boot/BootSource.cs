using System.Text;

namespace Vmm.Devices.Kvm;

/// <summary>What a machine boots: a Linux kernel, its initrd, its command line.</summary>
/// <param name="Kernel">The path of a vmlinux or a bzImage.</param>
/// <param name="Initrd">The path of an initrd; null for none.</param>
/// <param name="CommandLine">The kernel's command line.</param>
public sealed record BootSource(string Kernel, string? Initrd = null, string CommandLine = "console=ttyS0")
{
    /// <summary>Loads everything into guest memory.</summary>
    /// <param name="memory">Empty memory.</param>
    /// <param name="acpi">Whether the kernel is pointed to ACPI tables at 0xe0000, which the caller has written.</param>
    /// <exception cref="BootException">It does not fit, or is no kernel.</exception>
    public KernelStart Load(GuestMemory memory, bool acpi = false)
    {
        ArgumentNullException.ThrowIfNull(memory);
        KernelEntry kernel = LinuxKernel.Load(ReadFile(Kernel), Kernel, memory);
        BootHandover handed = LoadInitrd(memory, kernel) with { Map = E820Map.Of(memory), AcpiRoot = acpi ? BootLayout.AcpiTables : 0 };
        WriteCommandLine(memory, kernel);
        if (kernel.IsPvh)
        {
            PvhStartInfo.Write(Low(memory, BootLayout.PvhStartInfo, PvhStartInfo.Length), handed);
            return new KernelStart(EntryMode.Protected, new KvmRegs { Rip = kernel.Address, Rbx = BootLayout.PvhStartInfo });
        }
        ZeroPage.Write(Low(memory, BootLayout.ZeroPage, ZeroPage.Length), kernel, handed);
        return new KernelStart(EntryMode.Long, new KvmRegs { Rip = kernel.Address, Rsi = BootLayout.ZeroPage });
    }

    /// <summary>Puts the initrd as high as the kernel allows: the kernel unpacks itself below.</summary>
    private BootHandover LoadInitrd(GuestMemory memory, in KernelEntry kernel)
    {
        if (Initrd is null) return default;
        byte[] initrd = ReadFile(Initrd);
        ulong end = Math.Min(memory.Regions[0].Length, kernel.InitrdLast + 1);
        if ((ulong)initrd.Length > end || (end - (ulong)initrd.Length) / BootLayout.Page * BootLayout.Page is var address
            && address < kernel.End)
        {
            throw new BootException(
                $"'{Initrd}' does not fit: {initrd.Length} bytes between the kernel's end at 0x{kernel.End:x} and 0x{end:x}; "
                + "give the machine more memory");
        }
        memory.TryWrite(address, initrd);
        return new BootHandover([], address, (ulong)initrd.Length);
    }

    private void WriteCommandLine(GuestMemory memory, in KernelEntry kernel)
    {
        byte[] line = Encoding.UTF8.GetBytes(CommandLine + "\0");
        if (line.Length - 1 > kernel.CommandLineMax)
            throw new BootException($"the command line has {line.Length - 1} bytes: this kernel takes {kernel.CommandLineMax}");
        if (line.AsSpan(0, line.Length - 1).Contains((byte)0))
            throw new BootException("the command line holds a zero byte: the kernel would end it there");
        memory.TryWrite(BootLayout.CommandLine, line);
    }

    private static Span<byte> Low(GuestMemory memory, ulong address, int length) =>
        memory.TryGetSpan(address, (uint)length, out Span<byte> page)
            ? page : throw new BootException("the machine's memory has less than 1 MiB");

    private static byte[] ReadFile(string path)
    {
        if (Directory.Exists(path)) throw new BootException($"'{path}' is a directory: name a file in it");
        // An empty path is no file either.
        if (!File.Exists(path)) throw new BootException($"there is no file '{path}'");
        FileInfo file = new(path);
        if (file.Length > int.MaxValue) throw new BootException($"'{path}' has {file.Length} bytes: more than {int.MaxValue}");
        return File.ReadAllBytes(path);
    }
}
