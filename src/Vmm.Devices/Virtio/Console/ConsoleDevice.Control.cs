using System.Text;

namespace Vmm.Devices;

// Control messages (virtio 1.2 § 5.3.6.2). What the device has to say is a set of pending events for each port: whatever the driver does,
// it can't grow.
public sealed partial class ConsoleDevice
{
    private static readonly GuestFault NoMessage =
        new(GuestFaultKind.Request, "a console control message shorter than 8 bytes (§ 5.3.6.2)");
    private static readonly GuestFault NoSuchPort =
        new(GuestFaultKind.Request, "a console control message for a port that does not exist (§ 5.3.6.2)");
    private static readonly GuestFault NoRoom = new(GuestFaultKind.Request, "a console control buffer too short for a message (§ 5.3.6.2)");

    /// <summary>A port is announced in this order: it has to be there before it is anything else.</summary>
    private static readonly ConsoleEvent[] Order =
        [ConsoleEvent.DeviceAdd, ConsoleEvent.ConsolePort, ConsoleEvent.Resize, ConsoleEvent.PortName, ConsoleEvent.PortOpen];

    /// <summary>The host side of a port was connected or disconnected.</summary>
    internal void HostOpened(ConsoleChannel channel)
    {
        if (_multiport && channel.IsAnnounced) SendLater(channel, ConsoleEvent.PortOpen);
    }

    private void SendSize()
    {
        if (Driver is not { } driver || !_hasSize) return;
        if (!_multiport) driver.Interrupt.SignalConfig();
        else if (Array.Find(_channels, channel => channel.Port.IsConsole) is { IsAnnounced: true } console)
            SendLater(console, ConsoleEvent.Resize);
    }

    private void SendLater(ConsoleChannel channel, ConsoleEvent message)
    {
        channel.Pending |= Bit(message);
        ServeQueue(ConsoleProtocol.ControlReceiveQueue);
    }

    /// <summary>Sends the driver its pending events, as far as it has buffers.</summary>
    private void ServeControlReceive(QueueContext context)
    {
        VirtQueue queue = context.Queue;
        foreach (ConsoleChannel channel in _channels)
        {
            foreach (ConsoleEvent message in Order)
            {
                if ((channel.Pending & Bit(message)) == 0) continue;
                if (!queue.TryPop(out DescriptorChain? chain)) return;
                channel.Pending &= ~Bit(message);
                uint written = Write(chain.Writable, channel, message);
                queue.Push(chain, written);
                if (written == 0) queue.Fault(NoRoom);
            }
        }
    }

    /// <summary>One message: a function of the port's state now.</summary>
    /// <returns>Bytes written; 0 if there was no room.</returns>
    private uint Write(ChainWriter writer, ConsoleChannel channel, ConsoleEvent message)
    {
        ulong room = writer.Remaining;
        ConsoleControl control = new()
        {
            Port = (uint)channel.Index,
            Event = message,
            Value = message == ConsoleEvent.PortOpen && !channel.IsConnected ? (ushort)0 : (ushort)1,
        };
        if (!writer.TryWrite(control)) return 0;
        bool whole = true;
        if (message == ConsoleEvent.Resize)
        {
            lock (_sizeLock) whole = writer.TryWrite(_size);
        }
        else if (message == ConsoleEvent.PortName)
        {
            Span<byte> name = stackalloc byte[ConsolePort.NameLengthMax];
            whole = writer.TryWrite(name[..Encoding.ASCII.GetBytes(channel.Port.Name, name)]);
        }
        return whole ? (uint)(room - writer.Remaining) : 0;
    }

    /// <summary>Takes what the driver says.</summary>
    private void ServeControlTransmit(QueueContext context)
    {
        VirtQueue queue = context.Queue;
        while (queue.TryPop(out DescriptorChain? chain))
        {
            bool isWhole = chain.Readable.TryRead(out ConsoleControl message);
            queue.Push(chain, 0);
            if (!isWhole) queue.Fault(NoMessage);
            else if (message.Event == ConsoleEvent.DeviceReady) Announce(message.Value == 1);
            else if (message.Port >= (uint)_channels.Length) queue.Fault(NoSuchPort);
            else Handle(_channels[message.Port], message);
        }
    }

    private void Announce(bool driverIsReady)
    {
        if (!driverIsReady) return;
        foreach (ConsoleChannel channel in _channels) SendLater(channel, ConsoleEvent.DeviceAdd);
    }

    private void Handle(ConsoleChannel channel, ConsoleControl message)
    {
        switch (message.Event)
        {
            case ConsoleEvent.PortReady when message.Value == 1:
                channel.IsAnnounced = true;
                channel.Pending |= Bit(ConsoleEvent.PortName);
                if (channel.Port.IsConsole) channel.Pending |= Bit(ConsoleEvent.ConsolePort) | (_hasSize ? Bit(ConsoleEvent.Resize) : 0);
                if (channel.IsConnected) channel.Pending |= Bit(ConsoleEvent.PortOpen);
                ServeQueue(ConsoleProtocol.ControlReceiveQueue);
                return;
            case ConsoleEvent.PortOpen:
                channel.IsGuestOpen = message.Value == 1;
                ServeQueue(ConsoleProtocol.ReceiveQueueOf(channel.Index));
                return;
            default:
                // A port the driver could not set up, or an event of a later version: nothing to answer.
                return;
        }
    }

    private static uint Bit(ConsoleEvent message) => 1u << (int)message;
}
