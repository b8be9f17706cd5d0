using System.Diagnostics;

namespace Vmm.EndToEnd;

/// <summary>
/// A Linux guest in QEMU whose emulated processor can virtualize, with our tool inside: a true KVM wherever these tests run, if a slow one.
/// </summary>
internal static class NestedGuest
{
    private const string Qemu = "/usr/bin/qemu-system-x86_64";
    private static readonly TimeSpan Watchdog = TimeSpan.FromMinutes(8);
    private static readonly Lazy<string> Image = new(Build);

    /// <summary>Where scripts find the inner guest.</summary>
    internal const string Kernel = "/boot/vmlinuz";
    internal const string Initrd = "/boot/initramfs.gz";

    /// <summary>Debian's kernel for any machine, and its guest: it has drivers that the one for clouds does not have.</summary>
    internal const string GenericKernel = "/boot/vmlinuz-generic";
    internal const string GenericInitrd = "/boot/initramfs-generic.gz";

    /// <summary>A real guest is part of what the tests show: where QEMU is missing, tools/test.sh installs it.</summary>
    internal static void SkipIfMissing() => Assert.SkipUnless(File.Exists(Qemu), $"{Qemu} is not there: tools/test.sh installs it");

    /// <summary>Runs a shell script in the guest, then powers it off.</summary>
    /// <param name="script">Commands of busybox, and <c>vmm</c>. The first that fails ends it.</param>
    /// <param name="archive">An archive of more files for the guest, or null.</param>
    /// <param name="memoryMiB">The guest's memory, which holds all its files.</param>
    /// <param name="kernelOptions">More for the kernel's command line.</param>
    /// <param name="minutes">How long it may take; 0 for what most take.</param>
    /// <returns>What was said on the console, line by line: of the script, and of the guest that it boots.</returns>
    internal static string[] Run(string script, string? archive = null, int memoryMiB = 1200, string kernelOptions = "", int minutes = 0)
    {
        using ScratchDirectory scratch = new();
        string initrd = Pack(scratch, script, archive);
        string[] machine =
        [
            "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-machine", "q35,accel=tcg", "-cpu", "EPYC,+svm,+npt", "-m", $"{memoryMiB}",
            "-kernel", Path.Combine(Image.Value, "vmlinuz"), "-initrd", initrd, "-append", $"{QemuGuest.KernelOptions} {kernelOptions}",
        ];
        using Process qemu = Process.Start(new ProcessStartInfo(Qemu, machine) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> console = qemu.StandardOutput.ReadToEndAsync();
        Task<string> error = qemu.StandardError.ReadToEndAsync();
        bool ended = qemu.WaitForExit(minutes == 0 ? Watchdog : TimeSpan.FromMinutes(minutes));
        if (!ended) qemu.Kill();
        string said = console.Result;
        Assert.True(ended && qemu.ExitCode == 0, $"QEMU {(ended ? $"ended with {qemu.ExitCode}" : "did not end")}.\nconsole: {said}\nstderr: {error.Result}");
        return said.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
    }

    /// <summary>Packs the built tests that need KVM, with the runtime, for <see cref="Run"/>.</summary>
    internal static string PackKvmTests()
    {
        Shell($"'{Repository.PathOf("tools/guest/kvm-tests.sh")}' '{Image.Value}'");
        return Path.Combine(Image.Value, "kvm-tests.gz");
    }

    /// <summary>The guest's initramfs with more files and the script in archives behind it.</summary>
    private static string Pack(ScratchDirectory scratch, string script, string? archive)
    {
        File.WriteAllText(scratch.PathOf("run.sh"), script);
        string initrd = scratch.PathOf("nest.gz");
        Shell($"cd '{Path.GetDirectoryName(initrd)}' && (cat '{Image.Value}/nest.gz' {archive}; echo run.sh | cpio --quiet -o -H newc | gzip -1) > nest.gz");
        return initrd;
    }

    private static string Build()
    {
        string output = Repository.PathOf("artifacts/guest");
        Shell($"'{Repository.PathOf("tools/guest/nest.sh")}' '{output}'");
        return output;
    }

    private static void Shell(string command)
    {
        using Process process = Process.Start(new ProcessStartInfo("sh", ["-c", command]) { RedirectStandardError = true, RedirectStandardOutput = true })!;
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        string error = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{command} failed: {output.Result}{error}");
    }
}
