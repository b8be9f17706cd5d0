using System.CommandLine;
using Vmm.Devices;
using Vmm.Devices.Kvm;
using Vmm.Devices.Sandbox;

namespace Vmm.Tool;

/// <summary><c>vmm boot</c>: a Linux kernel on KVM, with our devices.</summary>
internal static class BootCommand
{
    private const string StandardCommandLine = "console=ttyS0 panic=-1 reboot=k";

    /// <param name="carriesOut">False to look whether a command line makes sense, and no further.</param>
    internal static Command Create(bool carriesOut)
    {
        TextOption kernel = new("--kernel", "FILE", "A Linux kernel for 64-bit x86: vmlinux or bzImage (vmlinuz).") { Required = true };
        TextOption initrd = new("--initrd", "FILE", "Its initial file system.");
        TextOption commandLine = new("--cmdline", "TEXT", $"The kernel's whole command line, in place of '{StandardCommandLine}'.")
        { DefaultValueFactory = _ => StandardCommandLine };
        TextOption append = new("--append", "TEXT", "What to add to the kernel's command line.");
        NumberOption vcpus = new("--vcpus", "N", "Virtual CPUs", 1, KvmMachineOptions.VcpusMax, standard: 1);
        NumberOption memory =
            new("--memory", "MIB", "Guest memory in MiB", (int)(KvmMachineOptions.MemoryBytesMin >> 20), 65536, standard: 512);
        DeviceOptions devices = new(attachAll: false);
        ChoiceOption stats = new("--stats", "Print statistics at the end, and how.", standard: null, "table", "json");
        ChoiceOption onCrash = new("--on-crash",
            "What becomes of a machine whose guest crashes: it ends, or it is kept, paused, "
            + "until this process is stopped.", standard: "end", "end", "pause");
        SwitchOption core = CoreOption.Create();
        SandboxOptions sandbox = new();
        ApiOption api = new();
        ChoiceOption log = LogOption.Create();
        SwitchOption noAcpi = new("--no-acpi", "For a kernel without ACPI: name the devices on its command line.");

        Command command =
            new("boot", "Boot a Linux kernel on KVM. Its serial console is this terminal: Ctrl-A x leaves, Ctrl-A Ctrl-A is Ctrl-A.")
        {
            kernel, initrd, commandLine, append, vcpus, memory, noAcpi, stats, onCrash, api, log, core, new ConfigOption(),
        };
        devices.AddTo(command);
        sandbox.AddTo(command);
        command.SetAction(parsed =>
        {
            if (carriesOut) LogOption.Apply(log.In(parsed));
            KvmMachineOptions options = new()
            {
                Boot = new BootSource(parsed.GetValue(kernel)!, parsed.GetValue(initrd),
                    CommandLineOf(parsed.GetValue(commandLine)!, parsed.GetValue(append))),
                Vcpus = vcpus.In(parsed),
                MemoryBytes = (ulong)memory.In(parsed) << 20,
                Acpi = !noAcpi.In(parsed),
            };
            IReadOnlyList<RequestedDevice> read = devices.Read(parsed);
            UsageException.ThrowIfAny([.. Contradictions(options), .. DeviceOptions.Contradictions(read, KvmBoard.DevicesMax),
                .. sandbox.Contradictions(parsed)]);
            MachineDevices requested = new(read, devices.Setting(parsed, options.Vcpus, options.MemoryBytes), scratch: false);
            if (!carriesOut) return ExitCode.Success;
            SandboxPlan? plan = sandbox.Enter(parsed, read, [.. HostAccesses(options.Boot), .. api.HostAccesses(parsed)],
                core.In(parsed), needsKvm: true);
            CoreOption.Apply(core.In(parsed));
            return BootRun.Run(options, requested, devices.Reactors(parsed), onCrash.In(parsed) == "pause",
                StatsFormats.Of(stats.In(parsed)), plan, parsed.GetValue(api));
        });
        return command;
    }

    private static HostAccess[] HostAccesses(BootSource boot) =>
    [
        new(HostAccessKind.Write, "/dev/kvm"), new(HostAccessKind.Read, boot.Kernel),
        .. boot.Initrd is { } initrd ? [new(HostAccessKind.Read, initrd)] : (HostAccess[])[],
    ];

    private static IEnumerable<string> Contradictions(KvmMachineOptions options) => !options.Acpi && options.Vcpus > 1
        ? [$"--no-acpi with --vcpus {options.Vcpus}: without ACPI a kernel finds one processor only"] : [];

    private static string CommandLineOf(string whole, string? added) => string.IsNullOrEmpty(added) ? whole : $"{whole} {added}";
}
