using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace Vmm.Devices.Simulation;

/// <summary>The guest's driver of a virtio console (virtio 1.2 § 5.3): opens every port the device announces. On CPU 0.</summary>
internal sealed class GuestPorts(GuestTransport transport, string name) : GuestDriver(transport, name)
{
    private const ulong WantedFeatures =
        ConsoleProtocol.FeatureSize | ConsoleProtocol.FeatureMultiport | ConsoleProtocol.FeatureEmergencyWrite;
    private const ushort ControlBuffers = 64;
    private const uint ControlBytes = 8 + ConsolePort.NameLengthMax;

    private GuestPort[] _ports = [];
    private GuestReceiveQueue? _controlReceive;
    private GuestQueue? _controlTransmit;
    private ConsoleSize _size;

    /// <summary>The ports the device announced.</summary>
    internal IEnumerable<GuestPort> Ports => _ports.Where(port => port.IsKnown);

    /// <summary>Columns and rows of the terminal on the other side; 0 if that is not known.</summary>
    internal (int Columns, int Rows) Size => (_size.Columns, _size.Rows);

    internal override string Description => $"console, {_ports.Length} {(_ports.Length == 1 ? "port" : "ports")}";

    internal override string Statistics =>
        $"{_ports.Sum(port => port.BytesIn)} bytes in, {_ports.Sum(port => port.BytesOut)} bytes out, "
        + $"{_ports.Sum(port => port.Kicks)} kicks, {Interrupts} interrupts";

    private bool IsMultiport => Has(ConsoleProtocol.FeatureMultiport);

    internal override async ValueTask<string?> Start(KernelCpu kernel)
    {
        if (!await Transport.Negotiate(WantedFeatures)) return "the device refuses the features";
        byte[] config = await Transport.ReadConfig(ConsoleProtocol.ConfigLength);
        int count = IsMultiport
            ? (int)Math.Clamp(BinaryPrimitives.ReadUInt32LittleEndian(config.AsSpan(ConsoleProtocol.ConfigPortsMax)),
            1, ConsoleDevice.PortsMax) : 1;
        GuestPort[] ports = new GuestPort[count];
        for (int i = 0; i < count; i++)
        {
            GuestReceiveQueue? receive = await GuestReceiveQueue.Start(kernel, this,
                ConsoleProtocol.ReceiveQueueOf(i), GuestPort.ReceiveBuffers, GuestPort.ChunkBytes);
            GuestQueue? transmit = await GuestQueue.Start(kernel, this, ConsoleProtocol.TransmitQueueOf(i), GuestPort.ChunkBytes);
            if (receive is null || transmit is null) return "no queue, or not enough guest memory for it";
            ports[i] = new GuestPort(this, i, receive, transmit);
        }
        if (IsMultiport)
        {
            _controlReceive =
                await GuestReceiveQueue.Start(kernel, this, ConsoleProtocol.ControlReceiveQueue, ControlBuffers, ControlBytes);
            _controlTransmit = await GuestQueue.Start(kernel, this, ConsoleProtocol.ControlTransmitQueue, ControlBytes);
            if (_controlReceive is null || _controlTransmit is null) return "no control queue, or not enough guest memory for it";
        }
        else
        {
            (ports[0].IsKnown, ports[0].IsConsole, ports[0].IsHostOpen, ports[0].Name) = (true, true, true, "console");
        }
        _ports = ports;
        await Transport.SetStatus(DeviceStatus.DriverOk);
        if (IsMultiport) await Send(kernel, 0, ConsoleEvent.DeviceReady);
        // What the device says to that is there when it has given the message back: the ports are known when the shell starts.
        await Work(kernel);
        return null;
    }

    /// <summary>What the device has to say, and what it received.</summary>
    internal override async ValueTask Work(KernelCpu kernel)
    {
        HasWork = false;
        if (IsMultiport) await HandleMessages(kernel);
        else if (Has(ConsoleProtocol.FeatureSize))
            _size = MemoryMarshal.Read<ConsoleSize>(await Transport.ReadConfig(ConsoleProtocol.ConfigLength));
        foreach (GuestPort port in _ports) await port.PumpInput(kernel);
    }

    /// <summary>The room that a read made is the device's.</summary>
    internal void WasRead() => HasWork = true;

    /// <summary>Prints text through the configuration space, without a queue (virtio 1.2 § 5.3.4).</summary>
    /// <returns>False if the device has no such thing.</returns>
    internal async ValueTask<bool> PrintEmergency(string text)
    {
        if (!Has(ConsoleProtocol.FeatureEmergencyWrite)) return false;
        foreach (byte value in Encoding.UTF8.GetBytes(text)) await Transport.WriteConfig(ConsoleProtocol.ConfigEmergencyWrite, value);
        return true;
    }

    protected override void OnUsedBuffers(KernelCpu kernel) => HasWork = true;

    protected override void OnConfigChanged() => HasWork = true;

    private async ValueTask HandleMessages(KernelCpu kernel)
    {
        GuestReceiveQueue queue = _controlReceive!;
        do
        {
            while (queue.TryTake(out GuestBuffer received))
            {
                byte[] message = new byte[received.Length];
                kernel.Cpu.Memory.TryRead(received.Address, message);
                queue.GiveBack(received.Address);
                await Handle(kernel, message);
            }
            await queue.Kick(kernel);
        }
        while (!queue.PrepareToWait());
    }

    private async ValueTask Handle(KernelCpu kernel, byte[] message)
    {
        if (!MemoryMarshal.TryRead(message, out ConsoleControl control)) return;
        if (control.Port >= (uint)_ports.Length) return;
        byte[] payload = message[Unsafe.SizeOf<ConsoleControl>()..];
        GuestPort port = _ports[control.Port];
        switch (control.Event)
        {
            case ConsoleEvent.DeviceAdd:
                (port.IsKnown, port.Name) = (true, $"port{control.Port}");
                await Send(kernel, control.Port, ConsoleEvent.PortReady);
                await Send(kernel, control.Port, ConsoleEvent.PortOpen);
                break;
            case ConsoleEvent.ConsolePort:
                port.IsConsole = true;
                break;
            case ConsoleEvent.Resize:
                MemoryMarshal.TryRead(payload, out _size);
                break;
            case ConsoleEvent.PortOpen:
                port.IsHostOpen = control.Value == 1;
                break;
            case ConsoleEvent.PortName:
                port.Name = Encoding.UTF8.GetString(payload);
                break;
        }
    }

    private async ValueTask Send(KernelCpu kernel, uint port, ConsoleEvent what)
    {
        ConsoleControl message = new() { Port = port, Event = what, Value = 1 };
        kernel.Cpu.Memory.TryWrite(_controlTransmit!.Data, MemoryMarshal.AsBytes(new ReadOnlySpan<ConsoleControl>(in message)));
        await _controlTransmit.Execute(kernel, new GuestBuffer(_controlTransmit.Data, (uint)Unsafe.SizeOf<ConsoleControl>()), null);
    }
}
