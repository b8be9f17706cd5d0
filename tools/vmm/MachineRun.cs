using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Extensions.Logging;
using Vmm.Devices;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>What the command line says of a machine beside its devices.</summary>
/// <param name="Vcpus">Virtual CPUs.</param>
/// <param name="MemoryBytes">Guest memory.</param>
/// <param name="Commands">What the guest is to do; null gives its console to whoever called.</param>
internal sealed record MachineArguments(int Vcpus, ulong MemoryBytes, string? Commands);

/// <summary>One run of a simulated machine: its devices, its console, its end.</summary>
internal sealed class MachineRun
{
    private readonly MachineArguments _machine;
    private ReactorStatistics _booted;
    private ReactorStatistics _finished;
    private IReadOnlyList<BalloonLine> _balloons = [];

    internal MachineRun(MachineArguments machine)
    {
        ulong least = SimulatedMachineOptions.MemoryBytesMin(machine.Vcpus);
        if (machine.MemoryBytes < least)
            throw new UsageException($"--memory {machine.MemoryBytes >> 20}: {machine.Vcpus} vCPUs need at least {least >> 20} MiB");
        _machine = machine;
    }

    /// <summary>Runs the machine on the terminal until it ends, and prints the statistics.</summary>
    /// <param name="devices">Its devices; they are at rest, and disposed, when this returns.</param>
    /// <param name="format">How the statistics are printed.</param>
    /// <returns>The process's exit code.</returns>
    internal int Run(MachineDevices devices, StatsFormat format)
    {
        if (HasShell && devices.HaveTerminal)
            throw new UsageException("--console terminal: the terminal is the guest's shell's: give the shell commands with --exec, or the console another way out");
        using RawTerminal? terminal = HasShell || devices.HaveTerminal ? RawTerminal.TryEnter(StandardStreams.Input) : null;
        using CancellationTokenSource stop = new();
        string? signal = null;
        void OnSignal(PosixSignalContext context)
        {
            context.Cancel = true;
            signal = context.Signal.ToString();
            stop.Cancel();
        }
        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, OnSignal);
        using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, OnSignal);
        using PosixSignalRegistration hangUp = PosixSignalRegistration.Create(PosixSignal.SIGHUP, OnSignal);
        using PosixSignalRegistration quit = PosixSignalRegistration.Create(PosixSignal.SIGQUIT, OnSignal);

        using StandardErrorLogging logging = new(new StandardErrorLogger("vmm", LogLevel.Warning));
        using DeviceHost host = new(new DeviceHostOptions { MemoryBytes = _machine.MemoryBytes, Logging = logging }, [.. devices.Devices]);
        host.AddSerial("ttyS0", GuestConsole());
        using IDisposable ways = devices.Lead(host.Reactors[0]);
        using IDisposable? screen = devices.HaveTerminal ? devices.LeadTerminal(StandardStreams.DuplicateInput()) : null;
        SimulatedMachineOptions options = new()
        {
            Vcpus = _machine.Vcpus,
            Interactive = HasShell && terminal is not null,
            Columns = () => RawTerminal.SizeOf(StandardStreams.Output).Columns,
            OnPhase = phase => Sample(phase, host, devices),
        };
        MachineResult result;
        using (SimulatedMachine machine = new(host, options)) result = machine.Run(stop.Token);
        if (_finished == default) Sample(GuestPhase.Finished, host, devices);
        terminal?.Dispose();
        MachineStatistics.Of(host.Statistics.Devices, _balloons, _booted, _finished).Print(format);
        return Report(result, signal);
    }

    /// <summary>Whether whoever called types the guest's commands.</summary>
    private bool HasShell => _machine.Commands is null;

    /// <summary>The guest's console: the commands that were given, or else standard input.</summary>
    private SerialPortOptions GuestConsole() => new()
    {
        Input = HasShell ? StandardStreams.DuplicateInput() : null,
        Script = _machine.Commands is null ? default : Encoding.UTF8.GetBytes(_machine.Commands + "\n"),
        Output = SerialOutput.To(StandardStreams.DuplicateOutput()),
    };

    /// <summary>What devices and reactor allocate once, while they come up and go, is no part of what an event costs.</summary>
    private void Sample(GuestPhase phase, DeviceHost host, MachineDevices devices)
    {
        ReactorStatistics now = host.Statistics.Reactors[0];
        if (phase == GuestPhase.Booted)
        {
            _booted = now;
            return;
        }
        _finished = now;
        _balloons = BalloonLine.Of(devices.Devices);
    }

    private static int Report(MachineResult result, string? signal)
    {
        if (result.Succeeded) return ExitCode.Success;
        Console.Error.WriteLine("vmm: " + result.End switch
        {
            MachineEnd.PoweredOff => "a command of the guest failed: its console says why",
            MachineEnd.Stopped => $"stopped by {signal}: what was in flight is done, the images are as the guest left them",
            _ => $"a vCPU failed: {result.Failure?.Message}",
        });
        return ExitCode.World;
    }
}
