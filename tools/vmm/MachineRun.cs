using System.Runtime.InteropServices;
using System.Text;
using Vmm.Devices;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>What the command line says of a machine beside its devices.</summary>
/// <param name="Vcpus">Virtual CPUs.</param>
/// <param name="MemoryBytes">Guest memory.</param>
/// <param name="Commands">What the guest is to do; null gives its console to whoever called.</param>
/// <param name="HasEntropy">Whether there is an entropy device.</param>
internal sealed record MachineArguments(int Vcpus, ulong MemoryBytes, string? Commands, bool HasEntropy);

/// <summary>One run of a simulated machine: its disks, its console, its end.</summary>
internal sealed class MachineRun : IDisposable
{
    private const long ScratchBytes = 64 << 20;
    /// <summary>Devices that are no disks.</summary>
    private const int Others = 1;
    private const int StandardInput = 0;
    private const int StandardOutput = 1;

    private readonly MachineArguments _machine;
    private readonly List<BlockDevice> _disks = [];
    private ReactorStatistics _booted;
    private ReactorStatistics _finished;
    private string? _scratch;

    internal MachineRun(MachineArguments machine)
    {
        ulong least = SimulatedMachineOptions.MemoryBytesMin(machine.Vcpus);
        if (machine.MemoryBytes < least)
            throw new UsageException($"--memory {machine.MemoryBytes >> 20}: {machine.Vcpus} vCPUs need at least {least >> 20} MiB");
        _machine = machine;
    }

    /// <summary>Opens the images, or makes a scratch one if there are none.</summary>
    internal void AttachDisks(IReadOnlyList<DiskArgument> disks, BlockEngineKind engine)
    {
        if (disks.Count == 0) disks = [CreateScratch()];
        int room = new DeviceHostOptions().DevicesMax - Others;
        if (disks.Count > room) throw new UsageException($"--disk was given {disks.Count} times: a machine has room for {room}");
        foreach (DiskArgument disk in disks)
        {
            string name = $"vd{(char)('a' + _disks.Count)}";
            RawImage image = RawImage.Open(disk.Path, disk.IsReadOnly, engine);
            _disks.Add(new BlockDevice(name, image, new BlockDeviceOptions { Queues = _machine.Vcpus }));
        }
    }

    /// <summary>Runs the machine on the terminal until it ends, and prints the statistics.</summary>
    /// <returns>The process's exit code.</returns>
    internal int Run(StatsFormat format)
    {
        using RawTerminal? terminal = _machine.Commands is null ? RawTerminal.TryEnter(StandardInput) : null;
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

        using DeviceHost host = new(new DeviceHostOptions { MemoryBytes = _machine.MemoryBytes }, [.. _disks]);
        if (_machine.HasEntropy) host.Add(new EntropyDevice("rng0"));
        host.AddSerial("ttyS0", GuestConsole());
        SimulatedMachineOptions options = new()
        {
            Vcpus = _machine.Vcpus,
            Interactive = terminal is not null,
            OnPhase = phase => Sample(phase, host),
        };
        MachineResult result;
        using (SimulatedMachine machine = new(host, options)) result = machine.Run(stop.Token);
        if (_finished == default) _finished = host.Statistics.Reactors[0];
        terminal?.Dispose();
        MachineStatistics.Of(host.Statistics.Devices, _booted, _finished).Print(format);
        return Report(result, signal);
    }

    public void Dispose()
    {
        // Those of a machine that never ran; a host disposes its own.
        foreach (BlockDevice disk in _disks) disk.Dispose();
        if (_scratch is not null) File.Delete(_scratch);
    }

    /// <summary>The guest's console: the commands that were given, or else standard input.</summary>
    private SerialPortOptions GuestConsole() => new()
    {
        Input = _machine.Commands is null ? DuplicateOf(StandardInput) : null,
        Script = _machine.Commands is null ? default : Encoding.UTF8.GetBytes(_machine.Commands + "\n"),
        Output = SerialOutput.To(DuplicateOf(StandardOutput)),
    };

    private static OwnedFd DuplicateOf(int standard)
    {
        OwnedFd borrowed = new(standard);
        try
        {
            return borrowed.Duplicate();
        }
        finally
        {
            // The process's own, which it goes on to use.
            borrowed.SetHandleAsInvalid();
        }
    }

    /// <summary>What devices and reactor allocate once, while they come up and go, is no part of what an event costs.</summary>
    private void Sample(GuestPhase phase, DeviceHost host)
    {
        ReactorStatistics now = host.Statistics.Reactors[0];
        if (phase == GuestPhase.Booted) _booted = now; else _finished = now;
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
