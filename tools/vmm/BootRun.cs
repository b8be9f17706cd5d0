using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Vmm.Devices;
using Vmm.Devices.Kvm;
using Vmm.Devices.Sandbox;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>One run of a KVM machine on this terminal: its devices, its console, its end.</summary>
internal static class BootRun
{
    /// <summary>Runs the machine until it ends.</summary>
    /// <param name="machineOptions">The machine.</param>
    /// <param name="devices">Its devices.</param>
    /// <param name="reactors">Reactors that serve them.</param>
    /// <param name="pauseOnCrash">Whether a machine whose guest crashed is kept, paused, until this process is asked to end.</param>
    /// <param name="format">How statistics are printed at the end; null for none.</param>
    /// <param name="sandbox">What this process keeps when the guest starts; null for all.</param>
    /// <param name="api">Where the control API listens; null for nowhere.</param>
    /// <returns>The process's exit code.</returns>
    internal static int Run(KvmMachineOptions machineOptions, MachineDevices devices, int reactors, bool pauseOnCrash, StatsFormat? format,
        SandboxPlan? sandbox, string? api)
    {
        using CancellationTokenSource stop = new();
        using ExitDeadline deadline = new();
        StandardErrorLogger log = new();
        DeviceHostOptions options = new()
        {
            Reactors = reactors,
            MeasureLatency = format is not null || api is not null,
            Logging = log,
            Announce = Console.WriteLine
        };
        using DeviceHost host = new(new KvmBoard(machineOptions), options);
        devices.AddTo(host);
        MachineResult result;
        using (RawTerminal? terminal = RawTerminal.TryEnter(StandardStreams.Input))
        {
            using ConsoleKeys? keys = terminal is null ? null : new ConsoleKeys(stop.Cancel);
            if (terminal is not null) StandardError.Say(LogLevel.Information, Banner(machineOptions, host));
            OwnedFd typed = keys?.Input ?? StandardStreams.DuplicateInput();
            host.AddSerial("ttyS0", new SerialPortOptions
            {
                Input = devices.HaveTerminal ? null : typed,
                Output = SerialOutput.To(StandardStreams.DuplicateOutput()),
            });
            using KvmMachine machine = new(host) { PauseOnCrash = pauseOnCrash };
            using IDisposable? screen = devices.HaveTerminal ? devices.ConnectTerminal(host, typed) : null;
            using Signals signals = new Signals()
                .On(_ => Stop(), Signals.Ending)
                .On(_ => Pause(machine), PosixSignal.SIGTSTP)
                .On(_ => machine.Resume(), PosixSignal.SIGCONT);
            using SilenceWatch silence = new(machine);
            using IDisposable? listening = ApiServer.TryStart(api,
                () => new HostedMachine("boot", machine, log.CreateLogger<HostedMachine>(), Stop), log);
            SandboxOptions.Close(sandbox);
            ServiceNotification.Ready();
            using (new ServiceWatchdog(host.IsAlive)) result = machine.Run(stop.Token);
            log.Happened(ToolEvents.MachineEnded, result.Message);
            ServiceNotification.Stopping();
        }
        if (format is { } wanted) MachineStatistics.Of(host.Statistics, BalloonLine.Of(host), booted: []).Print(wanted);
        if (result.End == MachineEnd.PoweredOff) return ExitCode.Success;
        StandardError.Say(LogLevel.Error, result.Message);
        return ExitCode.World;

        void Stop()
        {
            deadline.Start();
            stop.Cancel();
        }
    }

    /// <summary>What boots, with what, and how to leave.</summary>
    private static string Banner(KvmMachineOptions machine, DeviceHost host)
    {
        string names = host.Devices.Count == 0 ? "no virtio device" : string.Join(", ", host.Devices.Select(hosted => hosted.Device.Name));
        return $"boots {machine.Boot.Kernel} with {machine.Vcpus} {(machine.Vcpus == 1 ? "vCPU" : "vCPUs")}, "
            + $"{machine.MemoryBytes >> 20} MiB and {names}; Ctrl-A x leaves";
    }

    private static void Pause(KvmMachine machine)
    {
        machine.Pause();
        StandardError.Say(LogLevel.Information, "the machine stands still, until SIGCONT");
    }
}
