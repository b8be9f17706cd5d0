using System.CommandLine;
using Vmm.Devices;
using Vmm.Devices.Kvm;

namespace Vmm.Tool;

/// <summary><c>vmm boot</c>: a Linux kernel on KVM, with our devices.</summary>
internal static class BootCommand
{
    private const string StandardCommandLine = "console=ttyS0 panic=-1 reboot=k";

    /// <param name="carriesOut">False to look whether a command line makes sense, and no further.</param>
    /// <param name="started">What was begun before the options are known; null for nothing.</param>
    internal static Command Create(bool carriesOut, EarlyStart? started = null)
    {
        TextOption kernel = new("--kernel", "FILE", "A Linux kernel for 64-bit x86: vmlinux or bzImage (vmlinuz).") { Required = true };
        TextOption initrd = new("--initrd", "FILE", "Its initial file system.");
        TextOption commandLine = new("--cmdline", "TEXT", "The kernel's command line.") { DefaultValueFactory = _ => StandardCommandLine };
        NumberOption vcpus = new("--vcpus", "N", "Virtual CPUs", 1, KvmMachineOptions.VcpusMax, standard: 1);
        NumberOption memory = new("--memory", "MIB", "Guest memory in MiB", (int)(KvmMachineOptions.MemoryBytesMin >> 20), 65536, standard: 512);
        DeviceOptions devices = new(attachAll: false);
        ChoiceOption stats = new("--stats", "Print statistics at the end, and how.", standard: null, "table", "json");
        SwitchOption noAcpi = new("--no-acpi", "For a kernel without ACPI: name the devices on its command line.");

        Command command = new("boot", "Boot a Linux kernel on KVM. Its serial console is this terminal: Ctrl-A x leaves, Ctrl-A Ctrl-A is Ctrl-A.")
        {
            kernel, initrd, commandLine, vcpus, memory, noAcpi, stats,
        };
        devices.AddTo(command);
        command.SetAction(parsed =>
        {
            KvmMachineOptions options = new()
            {
                Boot = new BootSource(parsed.GetValue(kernel)!, parsed.GetValue(initrd), parsed.GetValue(commandLine)!),
                Vcpus = vcpus.In(parsed),
                MemoryBytes = (ulong)memory.In(parsed) << 20,
                Acpi = !noAcpi.In(parsed),
            };
            if (!options.Acpi && options.Vcpus > 1) throw new UsageException($"--no-acpi with --vcpus {options.Vcpus}: without ACPI a kernel finds one processor only");
            IReadOnlyList<DeviceRequest> requests = devices.Read(parsed, options.Vcpus, KvmMachine.DevicesMax);
            if (!carriesOut) return ExitCode.Success;
            using MachineDevices opened = MachineDevices.Open(requests);
            using EarlyStart early = started ?? new EarlyStart();
            return new BootRun(options, early).Run(opened, StatsFormats.Of(stats.In(parsed)));
        });
        return command;
    }
}
