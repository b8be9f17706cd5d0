using System.CommandLine;
using Vmm.Devices;
using Vmm.Devices.Simulation;

namespace Vmm.Tool;

/// <summary><c>vmm run</c>: the devices of one machine, hosted for a simulated guest.</summary>
internal static class RunCommand
{
    /// <param name="carriesOut">False to look whether a command line makes sense, and no further.</param>
    internal static Command Create(bool carriesOut)
    {
        DeviceOptions devices = new(attachAll: true);
        NumberOption vcpus = new("--vcpus", "N", "Virtual CPUs", 1, SimulatedMachineOptions.VcpusMax, standard: 1);
        NumberOption memory = new("--memory", "MIB", "Guest memory in MiB", 16, 65536, standard: 256);
        TextOption exec = new("--exec", "COMMANDS",
            "Guest commands, separated by ';'. Without them the guest's console is yours; try 'help'.", ShellSyntax.Check)
        { MayBeEmpty = true };
        ChoiceOption stats = new("--stats", "How the closing statistics are printed.", standard: "table", "table", "json");
        SwitchOption core = CoreOption.Create();
        ApiOptions api = new();
        NumberOption slow = OtlpPush.SlowOption();
        ChoiceOption log = LogOption.Create();

        Command command =
            new("run", "Run a simulated guest on real devices: real eventfds, guest memory and disk images. Needs no privilege.")
        {
            vcpus, memory, exec, stats, slow, log, core, new ConfigOption(),
        };
        api.AddTo(command);
        devices.AddTo(command);
        command.SetAction(parsed =>
        {
            if (carriesOut) LogOption.Apply(log.In(parsed));
            MachineArguments machine =
                new(vcpus.In(parsed), (ulong)memory.In(parsed) << 20, devices.Reactors(parsed), parsed.GetValue(exec),
                    api.In(parsed), OtlpPush.SlowAfter(slow, parsed));
            IReadOnlyList<RequestedDevice> read = devices.Read(parsed);
            MachineDevices requested = new(read, devices.Setting(parsed, machine.Vcpus, machine.MemoryBytes), scratch: true);
            UsageException.ThrowIfAny(
                [.. MachineRun.Contradictions(machine, requested), .. api.Contradictions(parsed),
                .. DeviceOptions.Contradictions(read, SimulatedBoard.DevicesMax)]);
            if (!carriesOut) return ExitCode.Success;
            CoreOption.Apply(core.In(parsed));
            return new MachineRun(machine).Run(requested, StatsFormats.Of(stats.In(parsed)) ?? StatsFormat.Table);
        });
        return command;
    }
}
