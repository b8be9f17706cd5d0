using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Vmm.Devices;
using Vmm.Devices.Kvm;
using Vmm.Devices.Sandbox;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>One run of a KVM machine on this terminal: its devices, its console, its end.</summary>
/// <param name="machineOptions">The machine.</param>
/// <param name="devices">Its devices.</param>
internal sealed class BootRun(KvmMachineOptions machineOptions, MachineDevices devices)
{
    /// <summary>Reactors that serve the devices.</summary>
    internal int Reactors { get; init; } = 1;

    /// <summary>Whether a machine whose guest crashed is kept, paused, until this process is asked to end.</summary>
    internal bool PauseOnCrash { get; init; }

    /// <summary>Whether a machine whose guest reboots starts again.</summary>
    internal bool StartsAgain { get; init; }

    /// <summary>How statistics are printed at the end; null for none.</summary>
    internal StatsFormat? Format { get; init; }

    /// <summary>What this process keeps when the guest starts; null for all.</summary>
    internal SandboxPlan? Sandbox { get; init; }

    /// <summary>Where the control API listens; null for nowhere.</summary>
    internal ApiPlaces? Api { get; init; }

    /// <summary>What a request may take before it becomes a span; zero for no spans.</summary>
    internal TimeSpan SlowAfter { get; init; }

    /// <summary>The options for its devices, for who makes a clone of it.</summary>
    internal DeviceWords DeviceWords { get; init; } = new([]);

    /// <summary>Whether a snapshot is compared with its checksums, and disks that were written since are refused.</summary>
    internal bool Strict { get; init; }

    /// <summary>Runs the machine until it ends.</summary>
    /// <returns>The process's exit code.</returns>
    internal int Run()
    {
        using CancellationTokenSource stop = new();
        using ExitDeadline deadline = new();
        StandardErrorLogger log = new();
        DeviceHostOptions options = new()
        {
            Reactors = Reactors,
            MeasureLatency = Format is not null || Api is not null || SlowAfter > TimeSpan.Zero,
            SlowAfter = SlowAfter,
            MirrorConsoles = Api is not null,
            Logging = log,
            Announce = Console.WriteLine
        };
        using DeviceHost host = new(new KvmBoard(machineOptions), options);
        devices.AddTo(host);
        if (machineOptions.Restore is { } snapshot) LookAt(snapshot, host);
        MachineResult result;
        using (RawTerminal? terminal = RawTerminal.TryEnter(StandardStreams.Input))
        {
            using ConsoleKeys? keys = terminal is null ? null : new ConsoleKeys(stop.Cancel);
            if (terminal is not null) StandardError.Say(LogLevel.Information, Banner(machineOptions, host));
            OwnedFd typed = keys?.Input ?? StandardStreams.DuplicateInput();
            // Without input of this process, it comes from those who attach to the console.
            bool isTypedElsewhere = Api is not null && StandardStreams.IsInputEmpty;
            host.AddSerial("ttyS0", new SerialPortOptions
            {
                Input = devices.HaveTerminal || isTypedElsewhere ? null : typed,
                Output = SerialOutput.To(StandardStreams.DuplicateOutput()),
            });
            if (isTypedElsewhere && !devices.HaveTerminal) typed.Dispose();
            using KvmMachine machine = new(host) { PauseOnCrash = PauseOnCrash, StartsAgain = StartsAgain };
            if (Api is not null)
            {
                machine.PrepareSaves();
                machine.PrepareResets();
            }
            using IDisposable? screen = devices.HaveTerminal ? devices.ConnectTerminal(host, typed) : null;
            using Signals signals = new Signals()
                .On(_ => Stop(), Signals.Ending)
                .On(_ => Pause(machine), PosixSignal.SIGTSTP)
                .On(_ => machine.Resume(), PosixSignal.SIGCONT);
            // One that goes on may have printed all it has to.
            using SilenceWatch? silence = machineOptions.Restore is null ? new SilenceWatch(machine) : null;
            using IDisposable? listening = ApiServer.TryStart(Api,
                () => new HostedMachine("boot", machine, devices.Setting, log.CreateLogger<HostedMachine>(), Stop, Sandbox)
                { Words = DeviceWords }, log);
            using IDisposable? pushed = OtlpPush.TryStart(() => host.Devices.Select(hosted => hosted.Device));
            SandboxOptions.Close(Sandbox, host.CloseSandbox);
            ServiceNotification.Ready();
            using (new ServiceWatchdog(host.IsAlive)) result = machine.Run(stop.Token);
            log.Happened(ToolEvents.MachineEnded, result.Message);
            ServiceNotification.Stopping();
        }
        if (Format is { } wanted) MachineStatistics.Of(host.Statistics, BalloonLine.Of(host), booted: []).Print(wanted);
        if (result.End is MachineEnd.PoweredOff or MachineEnd.Saved) return ExitCode.Success;
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
        string what = machine.Boot is { } boot ? $"boots {boot.Kernel}" : $"goes on from {machine.Restore?.Directory}";
        return $"{what} with {machine.Vcpus} {(machine.Vcpus == 1 ? "vCPU" : "vCPUs")}, "
            + $"{machine.MemoryBytes >> 20} MiB and {names}; Ctrl-A x leaves";
    }

    /// <summary>Looks at what a restore itself does not: it takes long, or is no fault of the snapshot.</summary>
    private void LookAt(MachineSnapshot snapshot, DeviceHost host)
    {
        if (Strict) snapshot.Verify();
        foreach (string changed in snapshot.ChangedImages(host))
        {
            if (Strict) throw new IOException(changed);
            StandardError.Say(LogLevel.Warning, changed);
        }
    }

    private static void Pause(KvmMachine machine)
    {
        machine.Pause();
        StandardError.Say(LogLevel.Information, "the machine stands still, until SIGCONT");
    }
}
