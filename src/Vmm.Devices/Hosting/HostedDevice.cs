using Vmm.Events;

namespace Vmm.Devices;

/// <summary>A virtio device of a host: where the guest finds it.</summary>
/// <param name="Device">The device.</param>
/// <param name="Transport">Its registers.</param>
/// <param name="Address">Guest address of the registers, <see cref="VirtioMmioTransport.Length"/> bytes.</param>
/// <param name="Line">Its interrupt line.</param>
public sealed record HostedDevice(VirtioDevice Device, VirtioMmioTransport Transport, ulong Address, InterruptLine Line);

/// <summary>A serial port of a host: where the guest finds it.</summary>
/// <param name="Port">The chip.</param>
/// <param name="Address">Its first port.</param>
/// <param name="Line">Its interrupt line.</param>
/// <param name="Backend">Its host side.</param>
/// <param name="Reactor">The reactor that carries its bytes.</param>
public sealed record HostedSerial(Uart16550 Port, ushort Address, InterruptLine Line, SerialBackend Backend, RemoteEndpoint Reactor);
