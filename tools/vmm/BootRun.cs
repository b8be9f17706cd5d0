using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Vmm.Devices;
using Vmm.Devices.Kvm;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>One run of a KVM machine on this terminal: its reactor's thread, its devices, its end.</summary>
internal sealed class BootRun : IDisposable
{
    private const int StandardInput = 0;
    private const int StandardOutput = 1;

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
            Attach(new BlockDevice(name, RawImage.Open(disk.Path, disk.IsReadOnly), new BlockDeviceOptions { Queues = _options.Vcpus }));
        }
    }

    /// <summary>Adds a device to the machine, and owns it.</summary>
    internal void Attach(VirtioDevice device)
    {
        _devices.Add(device);
        if (_devices.Count > KvmMachine.DevicesMax) throw new UsageException($"more than {KvmMachine.DevicesMax} devices are asked for: a machine has no room for them");
    }

    /// <summary>Runs the machine until it ends.</summary>
    /// <returns>The process's exit code.</returns>
    internal int Run()
    {
        using CancellationTokenSource stop = new();
        _thread.Start();
        KvmMachineResult result;
        using (RawTerminal? terminal = RawTerminal.TryEnter(StandardInput))
        {
            using ConsoleKeys? keys = terminal is null ? null : new ConsoleKeys(stop.Cancel);
            KvmMachineOptions options = _options with
            {
                ConsoleInput = keys?.Input ?? DuplicateOf(StandardInput),
                ConsoleOutput = SerialOutput.To(DuplicateOf(StandardOutput)),
                Logger = new StandardErrorLogger("vmm"),
            };
            using KvmMachine machine = new(options, _devices, _reactor.Remote);
            using SignalHandlers signals = new(machine, stop);
            result = machine.Run(stop.Token);
        }
        if (result.End == KvmMachineEnd.PoweredOff) return ExitCode.Success;
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

    /// <summary>What other processes may ask of the machine: to end (INT, TERM, HUP), to stand still (TSTP) and to go on (CONT).</summary>
    private sealed class SignalHandlers : IDisposable
    {
        private readonly List<PosixSignalRegistration> _registrations = [];

        internal SignalHandlers(KvmMachine machine, CancellationTokenSource stop)
        {
            foreach (PosixSignal signal in (PosixSignal[])[PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGHUP]) Handle(signal, stop.Cancel);
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
