using System.Runtime.InteropServices;
using Vmm.Devices;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>One run of a simulated machine: its reactor's thread, its disks, its console, its end.</summary>
internal sealed class MachineRun : IDisposable
{
    private const long ScratchBytes = 64 << 20;

    private readonly SimulatedMachineOptions _options;
    private readonly List<VirtioDevice> _devices = [];
    private readonly Reactor _reactor = new(new ReactorOptions { Name = "devices" });
    private readonly CancellationTokenSource _reactorStop = new();
    private readonly Thread _thread;
    private ReactorStatistics _booted;
    private ReactorStatistics _finished;
    private string? _scratch;

    internal MachineRun(SimulatedMachineOptions options)
    {
        if (options.MemoryBytes < SimulatedMachineOptions.MemoryBytesMin(options.Vcpus))
        {
            ulong least = (SimulatedMachineOptions.MemoryBytesMin(options.Vcpus) >> 20) + 1;
            throw new UsageException($"--memory {options.MemoryBytes >> 20}: {options.Vcpus} vCPUs need at least {least} MiB");
        }
        _options = options;
        _thread = new Thread(() => _reactor.Run(_reactorStop.Token)) { Name = _reactor.Name, IsBackground = true };
    }

    /// <summary>Opens the images, or makes a scratch one if there are none.</summary>
    internal void AttachDisks(IReadOnlyList<DiskArgument> disks)
    {
        if (disks.Count == 0) disks = [CreateScratch()];
        if (disks.Count > SimulatedMachine.DevicesMax)
            throw new UsageException($"--disk was given {disks.Count} times: a machine has room for {SimulatedMachine.DevicesMax}");
        foreach (DiskArgument disk in disks)
        {
            string name = $"vd{(char)('a' + _devices.Count)}";
            RawImage image = RawImage.Open(disk.Path, disk.IsReadOnly);
            _devices.Add(new BlockDevice(name, image, new BlockDeviceOptions { Queues = _options.Vcpus }) { MeasureLatency = true });
        }
    }

    /// <summary>Runs the machine on the terminal until it ends, and prints the statistics.</summary>
    /// <returns>The process's exit code.</returns>
    internal int Run(StatsFormat format)
    {
        using RawTerminal? terminal = _options.Commands is null ? RawTerminal.TryEnter(0) : null;
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

        _thread.Start();
        using OwnedFd standardInput = new(0);
        using OwnedFd standardOutput = new(1);
        SimulatedMachineOptions options = _options with
        {
            ConsoleInput = _options.Commands is null ? standardInput.Duplicate() : null,
            ConsoleOutput = SerialOutput.To(standardOutput.Duplicate()),
            Interactive = terminal is not null,
            OnPhase = phase => _reactor.Remote.Post(_ => Sample(phase)),
        };
        MachineResult result;
        MachineStatistics statistics;
        using (SimulatedMachine machine = new(options, _devices, _reactor.Remote))
        {
            result = machine.Run(stop.Token);
            if (_finished == default) _finished = _reactor.Remote.Invoke(_ => _reactor.Statistics);
            statistics = MachineStatistics.Of(_devices, _booted, _finished);
        }
        terminal?.Dispose();
        statistics.Print(format);
        return Report(result, signal);
    }

    public void Dispose()
    {
        _reactorStop.Cancel();
        if (_thread.IsAlive) _thread.Join();
        _reactor.Dispose();
        foreach (VirtioDevice device in _devices) device.Dispose();
        _reactorStop.Dispose();
        if (_scratch is not null) File.Delete(_scratch);
    }

    /// <summary>What devices and reactor allocate once, while they come up and go, is no part of what an event costs.</summary>
    private void Sample(GuestPhase phase)
    {
        if (phase == GuestPhase.Booted) _booted = _reactor.Statistics; else _finished = _reactor.Statistics;
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

    private DiskArgument CreateScratch()
    {
        _scratch = Path.Combine(Path.GetTempPath(), $"vmm-scratch-{Environment.ProcessId}.img");
        using (FileStream file = new(_scratch, FileMode.CreateNew)) file.SetLength(ScratchBytes);
        Console.Error.WriteLine($"vmm: no --disk given: made a {ScratchBytes >> 20} MiB scratch image, {_scratch}; it is deleted at the end");
        return new DiskArgument(_scratch, IsReadOnly: false);
    }
}
