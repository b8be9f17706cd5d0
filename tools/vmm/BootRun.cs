using System.Runtime.InteropServices;
using Vmm.Devices;
using Vmm.Devices.Kvm;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>One run of a KVM machine on this terminal: its reactor's thread, its devices, its end.</summary>
internal sealed class BootRun : IDisposable
{
    private readonly KvmMachineOptions _options;
    private readonly List<VirtioDevice> _devices = [];
    private readonly Reactor _reactor = new(new ReactorOptions { Name = "devices" });
    private readonly CancellationTokenSource _reactorStop = new();
    private readonly Thread _thread;

    internal BootRun(KvmMachineOptions options)
    {
        _options = options;
        _thread = new Thread(() => _reactor.Run(_reactorStop.Token)) { Name = _reactor.Name, IsBackground = true };
    }

    /// <summary>Opens the images.</summary>
    internal void AttachDisks(IReadOnlyList<DiskArgument> disks)
    {
        foreach (DiskArgument disk in disks)
        {
            string name = $"vd{(char)('a' + _devices.Count)}";
            _devices.Add(new BlockDevice(name, RawImage.Open(disk.Path, disk.IsReadOnly), new BlockDeviceOptions { Queues = _options.Vcpus }));
        }
        if (_devices.Count > KvmMachine.DevicesMax)
            throw new UsageException($"{_devices.Count} devices are asked for: a machine has room for {KvmMachine.DevicesMax}");
    }

    /// <summary>Runs the machine until it ends.</summary>
    /// <returns>The process's exit code.</returns>
    internal int Run()
    {
        using CancellationTokenSource stop = new();
        void OnSignal(PosixSignalContext context)
        {
            context.Cancel = true;
            stop.Cancel();
        }
        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, OnSignal);
        using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, OnSignal);
        using PosixSignalRegistration hangUp = PosixSignalRegistration.Create(PosixSignal.SIGHUP, OnSignal);

        _thread.Start();
        using ConsoleKeys keys = new(stop.Cancel);
        using OwnedFd standardOutput = new(1);
        KvmMachineOptions options = _options with { ConsoleInput = keys.Input, ConsoleOutput = SerialOutput.To(standardOutput.Duplicate()) };
        KvmMachineResult result;
        using (KvmMachine machine = new(options, _devices, _reactor.Remote)) result = machine.Run(stop.Token);
        if (result.End == KvmMachineEnd.PoweredOff) return ExitCode.Success;
        keys.Dispose();
        Console.Error.WriteLine($"vmm: {result.Message}");
        return ExitCode.World;
    }

    public void Dispose()
    {
        _reactorStop.Cancel();
        if (_thread.IsAlive) _thread.Join();
        _reactor.Dispose();
        foreach (VirtioDevice device in _devices) device.Dispose();
        _reactorStop.Dispose();
    }
}
