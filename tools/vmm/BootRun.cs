using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Vmm.Devices;
using Vmm.Devices.Kvm;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>One run of a KVM machine on this terminal: its reactor's thread, its devices, its end.</summary>
/// <param name="machineOptions">The machine.</param>
/// <param name="early">What serves its devices, and the VM it is built in.</param>
internal sealed class BootRun(KvmMachineOptions machineOptions, EarlyStart early)
{
    private readonly StandardErrorLogger _logger = new("vmm");

    /// <summary>Runs the machine until it ends.</summary>
    /// <param name="devices">Its devices. They stay the caller's, who disposes them after this.</param>
    /// <param name="format">How statistics are printed at the end; null for none.</param>
    /// <returns>The process's exit code.</returns>
    internal int Run(MachineDevices devices, StatsFormat? format)
    {
        using CancellationTokenSource stop = new();
        Reactor reactor = early.Reactor;
        foreach (VirtioDevice device in devices.Devices) (device.Logger, device.MeasureLatency) = (_logger, format is not null);
        KvmMachineResult result;
        using (RawTerminal? terminal = RawTerminal.TryEnter(StandardStreams.Input))
        {
            using ConsoleKeys? keys = terminal is null ? null : new ConsoleKeys(stop.Cancel);
            OwnedFd typed = keys?.Input ?? StandardStreams.DuplicateInput();
            KvmMachineOptions options = machineOptions with
            {
                ConsoleInput = devices.HaveTerminal ? null : typed,
                ConsoleOutput = SerialOutput.To(StandardStreams.DuplicateOutput()),
                Logger = _logger,
                Vm = machineOptions.Acpi ? early.Vm : null,
            };
            using KvmMachine machine = new(options, devices.Devices, reactor.Remote);
            using IDisposable ways = devices.Lead(reactor.Remote);
            using IDisposable? screen = devices.HaveTerminal ? devices.LeadTerminal(typed) : null;
            using SignalHandlers signals = new(machine, stop);
            result = machine.Run(stop.Token);
        }
        if (format is { } wanted) PrintStatistics(devices, reactor, wanted);
        if (result.End == KvmMachineEnd.PoweredOff) return ExitCode.Success;
        Console.Error.WriteLine($"vmm: {result.Message}");
        return ExitCode.World;
    }

    private static void PrintStatistics(MachineDevices devices, Reactor reactor, StatsFormat format)
    {
        ReactorStatistics finished = reactor.Remote.Invoke(_ => reactor.Statistics);
        MachineStatistics.Of(devices.Devices.Select(DeviceStatistics.Of), BalloonLine.Of(devices.Devices), booted: default, finished).Print(format);
    }

    /// <summary>What other processes may ask of the machine: to end (INT, TERM, HUP, QUIT), to stand still (TSTP) and to go on (CONT).</summary>
    private sealed class SignalHandlers : IDisposable
    {
        private readonly List<PosixSignalRegistration> _registrations = [];

        internal SignalHandlers(KvmMachine machine, CancellationTokenSource stop)
        {
            foreach (PosixSignal signal in (PosixSignal[])[PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGHUP, PosixSignal.SIGQUIT])
                Handle(signal, stop.Cancel);
            Handle(PosixSignal.SIGTSTP, () =>
            {
                machine.Pause();
                Console.Error.WriteLine("vmm: the machine stands still, until SIGCONT");
            });
            Handle(PosixSignal.SIGCONT, machine.Resume);
        }

        public void Dispose()
        {
            foreach (PosixSignalRegistration registration in _registrations) registration.Dispose();
        }

        private void Handle(PosixSignal signal, Action action) => _registrations.Add(PosixSignalRegistration.Create(signal, context =>
        {
            context.Cancel = true;
            action();
        }));
    }
}
