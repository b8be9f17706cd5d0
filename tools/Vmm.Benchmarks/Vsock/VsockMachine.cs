using System.Net.Sockets;
using Vmm.Devices;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Benchmarks;

/// <summary>
/// A vsock device on a reactor's thread, a driver on the calling thread, and one connection of the guest to a program of the host. Kicks
/// and interrupts are eventfds, as with a real guest.
/// </summary>
internal sealed class VsockMachine : IDisposable
{
    private const uint Cid = 3;
    private const uint HostPort = 1000;
    private const ulong MemoryBytes = 64 << 20;

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-vsock-").FullName;
    private readonly ReactorThread _thread = new(SlowHandlers.Watch(new ReactorOptions { Name = "vsock" }));
    private readonly GuestMemory _memory = GuestMemory.Create(MemoryBytes);
    private const int Queues = 2;

    private readonly VsockDevice _device;
    private readonly DeviceRunner _runner;

    /// <param name="packed">Which rings.</param>
    /// <param name="hostWrites">Whether the program of the host writes, or reads.</param>
    /// <param name="bufferKibibytes">KiB of a receive buffer.</param>
    internal VsockMachine(bool packed, bool hostWrites, int bufferKibibytes)
    {
        string path = Path.Combine(_directory, "v");
        using Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint($"{path}_{HostPort}"));
        listener.Listen();
        _device = new VsockDevice("vsock0", Cid, path);
        ulong features = VirtioFeatures.Version1 | VirtioFeatures.EventIndex | (packed ? VirtioFeatures.PackedRing : 0);
        Driver = new VsockDriver(_memory, features, (uint)bufferKibibytes * 1024, Cid, HostPort);
        _runner = new DeviceRunner(_device, _thread.Remote, DeviceRunner.ReactorsOf(_device, _thread.Remote, []), Driver.KickOf);
        _thread.Start();
        _thread.Remote.Invoke(reactor => StartDevice(reactor, features));
        Driver.Connect();
        using Socket host = listener.Accept();
        using OwnedFd borrowed = new((int)host.SafeHandle.DangerousGetHandle());
        OwnedFd own = borrowed.Duplicate();
        borrowed.SetHandleAsInvalid();
        Host = new RelayBaseline.HostEnd(own.Number, hostWrites);
        own.SetHandleAsInvalid();
    }

    /// <summary>The program of the host.</summary>
    internal RelayBaseline.HostEnd Host { get; }

    /// <summary>The guest.</summary>
    internal VsockDriver Driver { get; }

    public void Dispose()
    {
        Host.Dispose();
        // The reset ends in a later turn: a reactor that ends before it reports the rest of it as a call that did not run.
        using (ManualResetEventSlim isReset = new())
        {
            _thread.Remote.Invoke(_ => _runner.Reset(isReset.Set));
            isReset.Wait();
        }
        _thread.Dispose();
        _device.Dispose();
        Driver.Dispose();
        _memory.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    private void StartDevice(IReactor reactor, ulong features)
    {
        _runner.Begin(new DriverSession(features, _memory, Driver, reactor, _thread.Remote));
        for (int i = 0; i < Queues; i++)
        {
            if (!_runner.TryStart(Driver.Ring(i).Configuration(i), out GuestFault fault)) throw new InvalidOperationException(fault.Text);
        }
    }
}
