using System.Text;
using Microsoft.Extensions.Logging;
using Vmm.Devices;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>What the command line says of a machine beside its devices.</summary>
/// <param name="Vcpus">Virtual CPUs.</param>
/// <param name="MemoryBytes">Guest memory.</param>
/// <param name="Reactors">Reactors that serve its devices.</param>
/// <param name="Commands">What the guest is to do; null gives its console to the operator.</param>
/// <param name="Api">Where the control API listens; null for nowhere.</param>
internal sealed record MachineArguments(int Vcpus, ulong MemoryBytes, int Reactors, string? Commands, ApiPlaces? Api, TimeSpan SlowAfter);

/// <summary>One run of a simulated machine: its devices, its console, its end.</summary>
internal sealed class MachineRun
{
    private readonly MachineArguments _machine;
    private IReadOnlyList<ReactorStatistics> _booted = [];
    private IReadOnlyList<ReactorStatistics> _finished = [];
    private IReadOnlyList<BalloonLine> _balloons = [];

    internal MachineRun(MachineArguments machine) => _machine = machine;

    /// <summary>What does not fit together, each in a sentence.</summary>
    internal static IEnumerable<string> Contradictions(MachineArguments machine, MachineDevices devices)
    {
        ulong least = SimulatedMachineOptions.MemoryBytesMin(machine.Vcpus);
        if (machine.MemoryBytes < least)
            yield return $"--memory {machine.MemoryBytes >> 20}: {machine.Vcpus} vCPUs need at least {least >> 20} MiB";
        if (machine.Commands is null && devices.HaveTerminal)
            yield return "--console terminal: the terminal is the guest's shell's: give the shell commands with --exec, "
                + "or the console another output";
    }

    /// <summary>Runs the machine on the terminal until it ends, and prints the statistics.</summary>
    /// <param name="devices">Its devices.</param>
    /// <param name="format">How the statistics are printed.</param>
    /// <returns>The process's exit code.</returns>
    internal int Run(MachineDevices devices, StatsFormat format)
    {
        using CancellationTokenSource stop = new();
        string? signal = null;
        using ExitDeadline deadline = new();
        using Signals signals = new();

        StandardErrorLogger log = new(LogLevel.Warning);
        DeviceHostOptions served = new()
        {
            Reactors = _machine.Reactors,
            SlowAfter = _machine.SlowAfter,
            MirrorConsoles = _machine.Api is not null,
            Logging = log,
            Announce = Console.WriteLine,
        };
        using DeviceHost host = new(new SimulatedBoard(_machine.MemoryBytes), served);
        devices.AddTo(host);
        // From here on: until the devices are open, which may wait half a minute for a lock, a signal ends the process.
        signals.On(which => Stop(which.ToString()), Signals.Ending);
        using RawTerminal? terminal = HasShell || devices.HaveTerminal ? RawTerminal.TryEnter(StandardStreams.Input) : null;
        host.AddSerial("ttyS0", GuestConsole());
        using IDisposable? screen = devices.HaveTerminal ? devices.ConnectTerminal(host, StandardStreams.DuplicateInput()) : null;
        SimulatedMachineOptions options = new()
        {
            Vcpus = _machine.Vcpus,
            Interactive = HasShell && (terminal is not null || IsTypedElsewhere),
            ShowProgress = !Console.IsOutputRedirected,
            Columns = () => RawTerminal.SizeOf(StandardStreams.Output).Columns,
            OnPhase = phase => Sample(phase, host),
        };
        MachineResult result;
        using (SimulatedMachine machine = new(host, options))
        using (ApiServer.TryStart(_machine.Api,
            () => new HostedMachine("run", machine, devices.Setting, log.CreateLogger<HostedMachine>(), () => Stop("the API")), log))
        using (OtlpPush.TryStart(() => host.Devices.Select(hosted => hosted.Device)))
        using (new ServiceWatchdog(host.IsAlive))
        {
            ServiceNotification.Ready();
            result = machine.Run(stop.Token);
            log.Happened(ToolEvents.MachineEnded, result.Message);
            ServiceNotification.Stopping();
        }
        if (_finished.Count == 0) Sample(GuestPhase.Finished, host);
        terminal?.Dispose();
        MachineStatistics.Of(host.Statistics with { Reactors = _finished }, _balloons, _booted).Print(format);
        return Report(result, signal);

        void Stop(string asked)
        {
            deadline.Start();
            signal = asked;
            stop.Cancel();
        }
    }

    /// <summary>Whether the operator types the guest's commands.</summary>
    private bool HasShell => _machine.Commands is null;

    /// <summary>Whether all input comes from those who attach to the console: there is none of this process.</summary>
    private bool IsTypedElsewhere => _machine.Api is not null && StandardStreams.IsInputEmpty;

    /// <summary>The guest's console: the commands that were given, or else standard input.</summary>
    private SerialPortOptions GuestConsole() => new()
    {
        Input = HasShell && !IsTypedElsewhere ? StandardStreams.DuplicateInput() : null,
        Script = _machine.Commands is null ? default : Encoding.UTF8.GetBytes(_machine.Commands + "\n"),
        Output = SerialOutput.To(StandardStreams.DuplicateOutput()),
    };

    /// <summary>What devices and reactor allocate once, while they come up and go, is no part of what an event costs.</summary>
    private void Sample(GuestPhase phase, DeviceHost host)
    {
        IReadOnlyList<ReactorStatistics> now = host.Statistics.Reactors;
        if (phase == GuestPhase.Booted)
        {
            _booted = now;
            return;
        }
        _finished = now;
        _balloons = BalloonLine.Of(host);
    }

    private static int Report(MachineResult result, string? signal)
    {
        if (result.Succeeded) return ExitCode.Success;
        string sentence = result.End == MachineEnd.Stopped
            ? $"stopped by {signal}: what was in flight is done, the images are as the guest left them" : result.Message;
        StandardError.Say(LogLevel.Error, sentence);
        return ExitCode.World;
    }
}
