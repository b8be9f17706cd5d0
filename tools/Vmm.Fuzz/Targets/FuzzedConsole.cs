using Vmm.Devices;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Fuzz;

/// <summary>A console of two ports, whose host sides come, type, read, stop reading and hang up.</summary>
internal sealed class FuzzedConsole : FuzzedDevice
{
    private static readonly byte[] Typed = new byte[8192];

    private readonly ConsolePort[] _ports = [new("console", isConsole: true), new("agent")];
    private readonly UnixSocket?[] _hosts = new UnixSocket?[2];
    private readonly byte[] _read = new byte[8192];
    private ConsoleDevice? _device;

    internal override IReadOnlyList<BatteryRequest> Proofs { get; } =
    [
        new(1, "hello"u8.ToArray(), 0) { Complaint = (_, used) => used == 0 ? null : $"{used} bytes used" },
        new(3, [0, 0, 0, 0, (byte)ConsoleEvent.DeviceReady, 0, 1, 0], 0),
        new(2, [], 8) { Complaint = (_, used) => used == 8 ? null : $"{used} bytes of a control message" },
        new(5, "hello"u8.ToArray(), 0),
    ];

    internal override VirtioDevice Make() => _device = new ConsoleDevice("console0", _ports);

    internal override int WriteRequest(FuzzInput input, int queue, Span<byte> request)
    {
        if (queue == 3)
        {
            // A control message: port, event, value.
            request[..8].Clear();
            request[0] = (byte)input.Next(3);
            request[4] = (byte)input.Next(9);
            request[6] = (byte)input.Next(3);
            if (input.OneIn(8)) input.Fill(request[..8]);
            return 8;
        }
        int length = queue % 2 == 0 ? 0 : input.UInt16() % DeviceTarget.RequestBytesMax;
        request[..length].Fill(input.Byte());
        return length;
    }

    internal override void HostActs(FuzzInput input)
    {
        int port = input.Next(_ports.Length);
        switch (input.Next(8))
        {
            case 0:
                Connect(port);
                return;
            case 1:
                Disconnect(port);
                return;
            case 2:
                // Hangs up; the device finds out by itself.
                _hosts[port]?.Dispose();
                _hosts[port] = null;
                return;
            case 3:
                _device!.Resize(input.UInt16(), input.UInt16());
                return;
            case 4 or 5:
                if (_hosts[port] is { } reading) StreamCalls.Read(reading.Number, _read, out _);
                return;
            default:
                if (_hosts[port] is { } typing) StreamCalls.Write(typing.Number, Typed.AsSpan(0, input.UInt16() % Typed.Length), out _);
                return;
        }
    }

    internal override void HostFinishes()
    {
        for (int port = 0; port < _ports.Length; port++) Disconnect(port);
    }

    private void Connect(int port)
    {
        Disconnect(port);
        (UnixSocket device, UnixSocket host) = UnixSocket.Pair();
        _hosts[port] = host;
        _ports[port].Connect(device, SerialOutput.To(device.Duplicate()), onHungUp: port == 0 ? null : () => { });
    }

    private void Disconnect(int port)
    {
        if (_ports[port].IsConnected) _ports[port].Disconnect();
        _hosts[port]?.Dispose();
        _hosts[port] = null;
    }
}
