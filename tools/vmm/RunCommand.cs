using System.CommandLine;
using Vmm.Devices;
using Vmm.Devices.Simulation;

namespace Vmm.Tool;

/// <summary><c>vmm run</c>: the devices of one machine, hosted for a simulated guest.</summary>
internal static class RunCommand
{
    internal static Command Create()
    {
        Option<string[]> disks = new("--disk")
        {
            HelpName = "PATH[,ro]",
            Description = "A raw image; may be given several times. Without one a 64 MiB scratch image is made.",
        };
        Option<int> vcpus = Parsing.Number("--vcpus", "N", "Virtual CPUs", 1, SimulatedMachineOptions.VcpusMax, standard: 1);
        Option<int> memory = Parsing.Number("--memory", "MIB", "Guest memory in MiB", 16, 65536, standard: 256);
        Option<string?> exec = new("--exec")
        {
            HelpName = "COMMANDS",
            Description = "Guest commands, separated by ';'. Without them the guest's console is yours; try 'help'.",
        };
        Option<bool> entropy = new("--rng")
        {
            HelpName = "true|false",
            Description = "An entropy device.",
            DefaultValueFactory = _ => true,
        };
        Option<StatsFormat> stats = new("--stats")
        {
            HelpName = "table|json",
            Description = "How the closing statistics are printed.",
            DefaultValueFactory = _ => StatsFormat.Table,
        };
        Option<BlockEngineKind> engine = new("--engine")
        {
            HelpName = "ring|threads|synchronous",
            Description = "What moves the disks' bytes: the kernel's completion ring where there is one, a few threads, or the reactor itself.",
            DefaultValueFactory = _ => BlockEngineKind.Ring,
        };

        Command command = new("run", "Run a simulated guest on real devices: real eventfds, guest memory and disk images. Needs no privilege.")
        {
            disks, engine, vcpus, memory, entropy, exec, stats,
        };
        command.SetAction(parsed =>
        {
            string? commands = parsed.GetValue(exec);
            if (commands is not null && ShellSyntax.Check(commands) is { } complaint) throw new UsageException($"--exec: {complaint}");
            using MachineRun run = new(new MachineArguments(
                parsed.GetValue(vcpus), (ulong)parsed.GetValue(memory) << 20, commands, parsed.GetValue(entropy)));
            run.AttachDisks([.. (parsed.GetValue(disks) ?? []).Select(DiskArgument.Parse)], parsed.GetValue(engine));
            return run.Run(parsed.GetValue(stats));
        });
        return command;
    }
}
