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
        TextOption kernel = new("--kernel", "FILE", "A Linux kernel for 64-bit x86: vmlinux or bzImage (vmlinuz).");
        TextOption initrd = new("--initrd", "FILE", "Its initial file system.");
        TextOption commandLine = new("--cmdline", "TEXT", $"The kernel's whole command line, in place of '{StandardCommandLine}'.")
        { DefaultValueFactory = _ => StandardCommandLine, MayBeEmpty = true };
        TextOption append = new("--append", "TEXT", "What to add to the kernel's command line.") { MayBeEmpty = true };
        NumberOption vcpus = new("--vcpus", "N", "Virtual CPUs", 1, KvmMachineOptions.VcpusMax, standard: 1);
        NumberOption memory =
            new("--memory", "MIB", "Guest memory in MiB", (int)(KvmMachineOptions.MemoryBytesMin >> 20), 65536, standard: 512);
        ChoiceOption hugePages = new("--hugepages",
            "Make guest memory of huge pages of this size, which the host has put aside.", standard: null, "2m", "1g");
        CpusOption cpus = new("Processors the vCPUs are kept on, one for each.");
        DeviceOptions devices = new(attachAll: false);
        ChoiceOption stats = new("--stats", "Print statistics at the end, and how.", standard: null, "table", "json");
        ChoiceOption onCrash = new("--on-crash",
            "What becomes of a machine whose guest crashes: it ends, or it is kept, paused, "
            + "until this process is stopped.", standard: "end", "end", "pause");
        ChoiceOption onReboot = new("--on-reboot",
            "What becomes of a machine whose guest reboots: it ends, or it starts again from its kernel with the same devices.",
            standard: "end", "end", "restart");
        SwitchOption core = CoreOption.Create();
        SandboxOptions sandbox = new();
        ApiOptions api = new();
        NumberOption slow = OtlpPush.SlowOption();
        ChoiceOption log = LogOption.Create();
        TextOption restore = new("--restore", "DIR", "Go on from a snapshot in place of a boot: with the same devices, given anew.")
        { InsteadOf = kernel };
        SwitchOption strict = new("--strict",
            "With --restore: compare all of the snapshot's memory with its checksums first, and refuse disks that were written since.");
        SwitchOption noAcpi = new("--no-acpi", "For a kernel without ACPI: name the devices on its command line.");

        Command command =
            new("boot", "Boot a Linux kernel on KVM. Its serial console is this terminal: Ctrl-A x leaves, Ctrl-A Ctrl-A is Ctrl-A.")
        {
            kernel, initrd, commandLine, append, restore, strict, vcpus, cpus, memory, hugePages, noAcpi, stats, onCrash, onReboot, slow,
            log, core, new ConfigOption(),
        };
        api.AddTo(command);
        devices.AddTo(command);
        sandbox.AddTo(command);
        command.SetAction(parsed =>
        {
            if (carriesOut) LogOption.Apply(log.In(parsed));
            string? snapshot = parsed.GetValue(restore), image = parsed.GetValue(kernel);
            IReadOnlyList<RequestedDevice> read = devices.Read(parsed);
            UsageException.ThrowIfAny(
            [
                .. snapshot is null ? [] : Given(parsed, kernel, initrd, commandLine, append).Select(option =>
                    $"{option} with --restore: the saved machine has booted already; leave one of them out"),
                .. snapshot is null && image is null
                    ? ["--kernel is missing: name a Linux kernel, or a snapshot by --restore"] : (string[])[],
                .. snapshot is null && strict.In(parsed)
                    ? ["--strict without --restore: there is nothing to be strict about"] : (string[])[],
                .. snapshot is not null && onReboot.In(parsed) == "restart"
                    ? ["--on-reboot restart with --restore: a machine that goes on from a snapshot has no kernel to start again"]
                    : (string[])[],
                .. cpus.In(parsed).Length > vcpus.In(parsed) && (snapshot is null || Given(parsed, vcpus).Any())
                    ? [$"--cpus '{parsed.GetValue(cpus)}': give at most one processor for each of the {vcpus.In(parsed)} vCPUs"]
                    : (string[])[],
                .. hugePages.In(parsed) is { } page && memory.In(parsed) % (page == "1g" ? 1024 : 2) != 0
                    ? [$"--memory {memory.In(parsed)} with --hugepages {page}: give whole pages"] : (string[])[],
                .. snapshot is not null && hugePages.In(parsed) is not null
                    ? ["--hugepages with --restore: the memory is mapped from the snapshot; leave one of them out"] : (string[])[],
                .. noAcpi.In(parsed) && vcpus.In(parsed) > 1
                    ? [$"--no-acpi with --vcpus {vcpus.In(parsed)}: without ACPI a kernel finds one processor only"] : (string[])[],
                .. DeviceOptions.Contradictions(read, KvmBoard.DevicesMax), .. sandbox.Contradictions(parsed),
                .. api.Contradictions(parsed),
            ]);
            if (!carriesOut) return ExitCode.Success;
            HostAccess[] sources = [.. new[] { image, parsed.GetValue(initrd) }.OfType<string>()
                .Select(path => new HostAccess(HostAccessKind.Read, path)),
                .. snapshot is null ? [] : SnapshotChain.HostAccesses(snapshot)];
            // Where a snapshot will be asked for is not known yet.
            SandboxPlan? plan = sandbox.Enter(parsed, read,
                [new(HostAccessKind.Write, "/dev/kvm"), .. sources, .. api.HostAccesses(parsed), .. OtlpPush.HostAccesses(),
                    .. api.In(parsed) is null ? [] : KvmMachine.HostAccessesOfSaves],
                core.In(parsed), needsKvm: true, opensLater: api.In(parsed) is not null,
                savesMachines: api.In(parsed) is not null, api: api.In(parsed));
            CoreOption.Apply(core.In(parsed));
            KvmMachineOptions options = snapshot is not null ? GoingOn(snapshot) : new()
            {
                Boot = new BootSource(image!, parsed.GetValue(initrd),
                    CommandLineOf(parsed.GetValue(commandLine)!, parsed.GetValue(append))),
                Vcpus = vcpus.In(parsed),
                MemoryBytes = (ulong)memory.In(parsed) << 20,
                Acpi = !noAcpi.In(parsed),
                Pages = hugePages.In(parsed) switch { "2m" => PageSize.TwoMiB, "1g" => PageSize.OneGiB, _ => PageSize.Standard },
            };
            options = options with { Cpus = cpus.In(parsed) };
            if (options.Restore is { } goesOn) read = DeviceOptions.Renamed(read, goesOn.DeviceNames);
            MachineDevices requested = new(read, devices.Setting(parsed, options.Vcpus, options.MemoryBytes), scratch: false);
            BootRun run = new(options, requested)
            {
                Reactors = devices.Reactors(parsed),
                PauseOnCrash = onCrash.In(parsed) == "pause",
                StartsAgain = onReboot.In(parsed) == "restart",
                Format = StatsFormats.Of(stats.In(parsed)),
                Sandbox = plan,
                Api = api.In(parsed),
                SlowAfter = OtlpPush.SlowAfter(slow, parsed),
                Strict = strict.In(parsed),
                DeviceWords = devices.Words(parsed, read),
            };
            return run.Run();

            KvmMachineOptions GoingOn(string directory)
            {
                MachineSnapshot saved = MachineSnapshot.Open(directory);
                string[] given = [.. Given(parsed, vcpus, memory, noAcpi)];
                KvmMachineOptions goingOn = KvmMachineOptions.GoingOn(saved);
                // What is given has to be what the machine has.
                goingOn = goingOn with
                {
                    Vcpus = given.Contains(vcpus.Name) ? vcpus.In(parsed) : goingOn.Vcpus,
                    MemoryBytes = given.Contains(memory.Name) ? (ulong)memory.In(parsed) << 20 : goingOn.MemoryBytes,
                    Acpi = given.Contains(noAcpi.Name) ? !noAcpi.In(parsed) : goingOn.Acpi,
                };
                if (goingOn.Differences is { Length: > 0 } differences)
                    throw new UsageException($"--restore '{directory}': {differences}");
                return goingOn;
            }
        });
        return command;
    }

    /// <summary>Those of some options that the command line has.</summary>
    private static IEnumerable<string> Given(ParseResult parsed, params Option[] options) =>
        options.Where(option => parsed.GetResult(option) is { Implicit: false }).Select(option => option.Name);

    private static string CommandLineOf(string whole, string? added) => string.IsNullOrEmpty(added) ? whole : $"{whole} {added}";
}
