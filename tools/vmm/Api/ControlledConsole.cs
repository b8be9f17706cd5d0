using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>A console of a machine's guest.</summary>
/// <param name="Name">The serial port's name, or that of the virtio console.</param>
/// <param name="Kind"><c>serial</c> or <c>virtio</c>.</param>
/// <param name="Mirror">What shows it.</param>
internal sealed record ControlledConsole(string Name, string Kind, ConsoleMirror Mirror)
{
    internal GuestConsoleView View => new() { Name = Name, Kind = Kind, TakesInput = Mirror.TakesInput };

    /// <summary>Those of a host: serial ports first, then virtio consoles.</summary>
    internal static IReadOnlyList<ControlledConsole> Of(DeviceHost host) =>
    [
        .. from serial in host.Serials
           where serial.Backend.Mirror is not null
           select new ControlledConsole(serial.Port.Name, "serial", serial.Backend.Mirror!),
        .. from hosted in host.Devices
           from port in (hosted.Device as ConsoleDevice)?.Ports ?? []
           where port.Mirror is not null
           select new ControlledConsole(hosted.Device.Name, "virtio", port.Mirror!),
    ];
}
