using System.Diagnostics;
using System.Text;

namespace Vmm.EndToEnd;

/// <summary>Firmware and boot loaders that start from our disk in QEMU: their drivers are none of Linux's, and negotiate less.</summary>
public sealed class FirmwareTests
{
    private const int MiB = 1 << 20, SectorBytes = 512;
    private const string Greeting = "the boot loader read this from the disk";

    /// <summary>
    /// A boot sector that has the BIOS read the next sector (INT 13h, function 42h), prints it on the serial port and resets the machine.
    /// </summary>
    private const string BootSector =
        "fa31c08ed88ec08ed0bc007cfbbe387cb442cd137218be0080ac84c0741050bafd03eca82074fb58baf803eeebebb0fee664f4ebfd000000"
        + "10000100008000000100000000000000";

    [Fact]
    [Tried("SeaBIOS", "seabios", "1.16.2", Devices = "disk", Result = "boots", HowTo = "QEMU's default firmware, `bootindex=0`")]
    public void SeaBIOS_starts_a_boot_sector()
    {
        QemuGuest.SkipIfMissing();
        using ScratchDirectory scratch = new();
        string image = scratch.PathOf("disk.img");
        WriteBootDisk(image, Greeting);
        AssertGreets(scratch, image, "");
    }

    /// <summary>Makes a disk that a BIOS boots from, and that says something on the serial port then.</summary>
    internal static void WriteBootDisk(string path, string greeting)
    {
        byte[] disk = new byte[MiB];
        Convert.FromHexString(BootSector).CopyTo(disk, 0);
        (disk[510], disk[511]) = (0x55, 0xaa);
        Encoding.ASCII.GetBytes($"\r\n{greeting}\r\n").CopyTo(disk, 512);
        File.WriteAllBytes(path, disk);
    }

    /// <summary>OVMF accepts neither limit of a request and reads the whole file, 130 MiB, in one; GRUB then reads a file of its own.</summary>
    [Fact]
    [Tried("OVMF, then GRUB (EFI)", "ovmf", "2022.11", Devices = "disk, read in one request of 130 MiB", Result = "boots",
        HowTo = "`-device vhost-user-blk-pci,…,disable-legacy=on`: OVMF drives a transitional device as one from before virtio 1.0, which is refused")]
    public void OVMF_starts_GRUB_from_a_file_larger_than_any_request_of_Linux()
    {
        const string Code = "/usr/share/OVMF/OVMF_CODE_4M.fd", Variables = "/usr/share/OVMF/OVMF_VARS_4M.fd";
        QemuGuest.SkipIfMissing();
        Assert.SkipUnless(File.Exists(Code) && File.Exists("/usr/bin/grub-mkimage") && Directory.Exists("/usr/lib/grub/x86_64-efi")
            && File.Exists("/usr/bin/mformat"), "OVMF, GRUB or mtools are not there: tools/test.sh installs them");
        using ScratchDirectory scratch = new();
        string image = scratch.PathOf("disk.img"), loader = scratch.PathOf("grub.efi"), file = scratch.PathOf("greeting");
        string variables = scratch.PathOf("variables"), script = scratch.PathOf("grub.cfg");
        File.WriteAllText(script, "cat (hd0)/greeting\nhalt\n");
        File.WriteAllText(file, $"\n{Greeting}\n");
        File.Copy(Variables, variables);
        Run("grub-mkimage", "-O", "x86_64-efi", "-o", loader, "-p", "/", "-c", script, "fat", "cat", "halt");
        SetLength(loader, 130L * MiB);
        SetLength(image, 200L * MiB);
        Run("mformat", "-i", image, "-F", "::");
        Run("mmd", "-i", image, "::/EFI", "::/EFI/BOOT");
        Run("mcopy", "-i", image, loader, "::/EFI/BOOT/BOOTX64.EFI");
        Run("mcopy", "-i", image, file, "::/greeting");
        // As a transitional device OVMF would take it for one from before virtio 1.0.
        AssertGreets(scratch, image, ",disable-legacy=on",
            ["-drive", $"if=pflash,format=raw,unit=0,readonly=on,file={Code}", "-drive", $"if=pflash,format=raw,unit=1,file={variables}"]);
    }

    /// <summary>GRUB's own boot sector and core, a partition table and a FAT file system: all of it read by BIOS calls.</summary>
    [Fact]
    [Tried("SeaBIOS, then GRUB (BIOS)", "grub-pc-bin", "2.06", Devices = "disk", Result = "boots", HowTo = "QEMU's default firmware, `bootindex=0`")]
    public void SeaBIOS_starts_GRUB_from_a_partition()
    {
        using ScratchDirectory scratch = new();
        AssertGreets(scratch, GrubDisk(scratch), "");
    }

    /// <summary>U-Boot finds the disk by itself, and starts GRUB as an EFI program; GRUB reads by U-Boot's driver.</summary>
    [Fact]
    [Tried("U-Boot (`qemu-x86_64`), then GRUB (EFI)", "u-boot-qemu", "2023.01", Devices = "disk", Result = "boots",
        HowTo = "`-machine pc -bios /usr/lib/u-boot/qemu-x86_64/u-boot.rom -device vhost-user-blk-pci,…,disable-legacy=on`: on `q35` it finds no PCI device")]
    public void UBoot_starts_GRUB_from_a_partition()
    {
        const string UBoot = "/usr/lib/u-boot/qemu-x86_64/u-boot.rom";
        QemuGuest.SkipIfMissing();
        Assert.SkipUnless(File.Exists(UBoot) && File.Exists("/usr/bin/grub-mkimage") && File.Exists("/usr/bin/mformat"),
            "U-Boot, GRUB or mtools are not there: tools/test.sh installs them");
        using ScratchDirectory scratch = new();
        string loader = scratch.PathOf("grub.efi"), script = scratch.PathOf("grub.cfg");
        File.WriteAllText(script, "search --file --set=root /greeting\ncat /greeting\nhalt\n");
        Run("grub-mkimage", "-O", "x86_64-efi", "-o", loader, "-p", "/", "-c", script, "part_msdos", "fat", "search", "search_fs_file", "cat", "halt");
        string image = PartitionedDisk(scratch, new byte[SectorBytes]);
        Run("mmd", "-i", FirstPartition(image), "::/EFI", "::/EFI/BOOT");
        Run("mcopy", "-i", FirstPartition(image), loader, "::/EFI/BOOT/BOOTX64.EFI");
        AssertGreets(scratch, image, ",disable-legacy=on", ["-machine", "pc,accel=tcg", "-bios", UBoot]);
    }

    /// <summary>iPXE gets an address and a script over our network, and the script starts what is on our disk.</summary>
    [Fact]
    [Tried("iPXE, then GRUB (BIOS)", "ipxe-qemu", "1.0.0+git-20190125", Devices = "network, disk", Result = "boots",
        HowTo = "`-machine pc -device virtio-net-pci,…,bootindex=0`, DHCP and TFTP by dnsmasq, a script with `sanboot --drive 0x80`")]
    public void IPXE_loads_a_script_over_our_network_and_starts_our_disk()
    {
        const string Dnsmasq = "/usr/sbin/dnsmasq";
        NetworkNamespace.SkipWithoutPrivilege();
        Assert.SkipUnless(File.Exists("/usr/lib/ipxe/qemu/pxe-virtio.rom") && File.Exists(Dnsmasq), "iPXE or dnsmasq are not there: tools/test.sh installs them");
        using ScratchDirectory scratch = new();
        string image = GrubDisk(scratch), files = Directory.CreateDirectory(scratch.PathOf("tftp")).FullName, network = scratch.PathOf("n");
        File.WriteAllText(Path.Combine(files, "boot.ipxe"), "#!ipxe\nsanboot --no-describe --drive 0x80\n");
        using NetworkNamespace space = new();
        space.AddTap("tap0", "10.77.0.1/24");
        using Process dhcp = Process.Start(new ProcessStartInfo("ip",
        [
            .. space.Wrapper[1..], Dnsmasq, "--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--user=root", "--port=0", "--interface=tap0",
            "--bind-interfaces", "--dhcp-range=10.77.0.50,10.77.0.60", $"--dhcp-leasefile={scratch.PathOf("leases")}", "--enable-tftp",
            $"--tftp-root={files}", "--dhcp-boot=boot.ipxe",
        ])
        { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> output = dhcp.StandardOutput.ReadToEndAsync(), log = dhcp.StandardError.ReadToEndAsync();
        try
        {
            // The BIOS starts the disk too if the network fails: iPXE says on the console of the BIOS that it is iPXE who does.
            string console = AssertGreets(scratch, image, "", bootIndex: "", serveMore: ["--net", $"socket={network},tap=tap0"], wrapper: space.Wrapper, more:
            [
                "-machine", "pc,accel=tcg,graphics=off", "-chardev", $"socket,id=net,path={network}", "-netdev", "vhost-user,id=net,chardev=net",
                "-device", "virtio-net-pci,netdev=net,vectors=0,bootindex=0",
            ]);
            Assert.Contains("boot.ipxe... ok", console, StringComparison.Ordinal);
            Assert.Contains("Booting from SAN device 0x80", console, StringComparison.Ordinal);
        }
        finally
        {
            dhcp.Kill();
            _ = output.Result + log.Result;
        }
    }

    /// <summary>A disk whose boot sector, core and greeting are GRUB's for a BIOS.</summary>
    private static string GrubDisk(ScratchDirectory scratch)
    {
        const string BootImage = "/usr/lib/grub/i386-pc/boot.img";
        QemuGuest.SkipIfMissing();
        Assert.SkipUnless(File.Exists(BootImage) && File.Exists("/usr/bin/grub-mkimage") && File.Exists("/usr/bin/mformat"),
            "GRUB or mtools are not there: tools/test.sh installs them");
        string core = scratch.PathOf("core.img"), script = scratch.PathOf("bios.cfg");
        File.WriteAllText(script, "serial --unit=0 --speed=115200\nterminal_output serial\ncat (hd0,msdos1)/greeting\nhalt\n");
        Run("grub-mkimage", "-O", "i386-pc", "-o", core, "-p", "/", "-c", script, "biosdisk", "part_msdos", "fat", "serial", "terminal", "cat", "halt");
        // The boot sector reads on in the sector behind it, which is where its core is.
        return PartitionedDisk(scratch, [.. File.ReadAllBytes(BootImage)[..SectorBytes], .. File.ReadAllBytes(core)]);
    }

    /// <summary>A disk with a FAT file system in its only partition, and the greeting in it.</summary>
    /// <param name="scratch">Where it lies.</param>
    /// <param name="start">Its first sectors; the table of partitions is written into the first.</param>
    private static string PartitionedDisk(ScratchDirectory scratch, byte[] start)
    {
        const int PartitionSectors = 65536, TableOffset = 446;
        string image = scratch.PathOf("disk.img"), greeting = scratch.PathOf("greeting");
        byte[] entry = [0x80, 0, 2, 0, 0x0e, 0xff, 0xff, 0xff, .. BitConverter.GetBytes(MiB / SectorBytes), .. BitConverter.GetBytes(PartitionSectors)];
        start.AsSpan(TableOffset, SectorBytes - TableOffset).Clear();
        entry.CopyTo(start, TableOffset);
        (start[510], start[511]) = (0x55, 0xaa);
        File.WriteAllBytes(image, start);
        SetLength(image, MiB + (PartitionSectors * SectorBytes));
        File.WriteAllText(greeting, $"\n{Greeting}\n");
        Run("mformat", "-i", FirstPartition(image), "-T", $"{PartitionSectors}", "::");
        Run("mcopy", "-i", FirstPartition(image), greeting, "::/greeting");
        return image;
    }

    private static string FirstPartition(string image) => $"{image}@@1M";

    /// <returns>What was printed on the serial port.</returns>
    private static string AssertGreets(ScratchDirectory scratch, string image, string deviceOptions, string[]? more = null, string[]? serveMore = null,
        string[]? wrapper = null, string bootIndex = ",bootindex=0")
    {
        string socket = scratch.PathOf("s"), before = ScratchDirectory.Sha256(image);
        string[] devices = ["--blk", $"path={image},socket={socket},ro", .. serveMore ?? []];
        using VmmProcess vmm = new(wrapper ?? [], ["serve", .. devices]);
        for (int i = 0; i < devices.Length; i += 2) vmm.WaitFor($"listening {devices[i][2..]} ");
        using Process qemu = Process.Start(new ProcessStartInfo("/usr/bin/qemu-system-x86_64",
        [
            "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-machine", "q35,accel=tcg", "-m", "512",
            "-object", "memory-backend-memfd,id=memory,size=512M,share=on", "-numa", "node,memdev=memory",
            "-chardev", $"socket,id=disk,path={socket}", "-device", $"vhost-user-blk-pci,chardev=disk{bootIndex}{deviceOptions}", .. more ?? [],
        ])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        Task<string> console = qemu.StandardOutput.ReadToEndAsync(), error = qemu.StandardError.ReadToEndAsync();
        bool ended = qemu.WaitForExit(TimeSpan.FromMinutes(5));
        if (!ended) qemu.Kill();
        Assert.True(ended && console.Result.Contains(Greeting, StringComparison.Ordinal), $"{console.Result}\n{error.Result}");
        vmm.Signal("TERM");
        VmmResult result = vmm.WaitForExit();
        Assert.True(result.ExitCode == 0, result.Error);
        Assert.DoesNotContain("refused", result.Error, StringComparison.Ordinal);
        Assert.Equal(before, ScratchDirectory.Sha256(image));
        return console.Result;
    }

    private static void SetLength(string path, long bytes)
    {
        using FileStream file = new(path, FileMode.OpenOrCreate);
        file.SetLength(bytes);
    }

    private static void Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
        string error = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program} ended with {process.ExitCode}: {error}");
    }
}
