using Vmm.Events;

namespace Vmm.Devices;

/// <summary>A virtio device of a host: where the guest finds it.</summary>
public sealed class HostedDevice : IInspectable
{
    private readonly IMachineBoard _board;

    internal HostedDevice(VirtioDevice device, VirtioMmioTransport transport, DeviceReactors reactors, int slot, IMachineBoard board)
    {
        _board = board;
        Device = device;
        Transport = transport;
        Reactors = reactors;
        Slot = slot;
        Address = board.Slots.AddressOf(slot);
        Line = board.Slots.LineOf(slot);
    }

    /// <summary>The device.</summary>
    public VirtioDevice Device { get; }

    /// <summary>Guest address of its registers, <see cref="VirtioMmioTransport.Length"/> bytes.</summary>
    public ulong Address { get; }

    /// <summary>The number of its interrupt line.</summary>
    public int Line { get; }

    /// <summary>How other threads reach the reactor that owns the device.</summary>
    public RemoteEndpoint Reactor => Reactors.Main.Remote;

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        ArgumentNullException.ThrowIfNull(node);
        Device.Inspect(node);
        node.Add("address", $"0x{Address:x}");
        node.Add("line", Line);
        node.Add("reactor", Reactor.ReactorName);
    }

    internal VirtioMmioTransport Transport { get; }

    internal DeviceReactors Reactors { get; }

    internal int Slot { get; }

    /// <summary>What connects it to its endpoints on the host; null for a device without any.</summary>
    internal IDisposable? Connection { get; set; }

    /// <summary>Has the guest's accesses, and its kicks, find the device.</summary>
    /// <exception cref="KernelException">The host has not enough descriptors; the transport is disposed.</exception>
    internal void Attach()
    {
        try
        {
            _board.Mmio.Add(Address, VirtioMmioTransport.Length, Transport);
            for (int queue = 0; queue < Device.Queues.Count; queue++)
                _board.Kicks?.Add(Address + MmioRegister.QueueNotify, sizeof(uint), (ulong)queue, Transport.KickOf(queue));
        }
        catch
        {
            Detach();
            Transport.Dispose();
            throw;
        }
    }

    /// <summary>Has them find nothing; again, it does nothing.</summary>
    internal void Detach()
    {
        for (int queue = 0; queue < Device.Queues.Count; queue++)
            _board.Kicks?.Remove(Address + MmioRegister.QueueNotify, sizeof(uint), (ulong)queue);
        _board.Mmio.Remove(Address);
    }

    /// <summary>Closes what it has, when it is quiet: <see cref="VirtioMmioTransport.StopAsync"/>.</summary>
    internal void Dispose()
    {
        Transport.Dispose();
        Device.Dispose();
    }
}

/// <summary>A serial port of a host: where the guest finds it.</summary>
/// <param name="Port">The chip.</param>
/// <param name="Address">Its first port.</param>
/// <param name="Line">The number of its interrupt line.</param>
/// <param name="Backend">Its host side.</param>
/// <param name="Reactor">The reactor that carries its bytes.</param>
public sealed record HostedSerial(Uart16550 Port, ushort Address, int Line, SerialBackend Backend, RemoteEndpoint Reactor);
