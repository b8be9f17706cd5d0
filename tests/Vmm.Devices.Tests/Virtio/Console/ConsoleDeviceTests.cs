using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

public sealed class ConsoleDeviceTests
{
    private const int Receive = 0;
    private const int Transmit = 1;
    private const int ControlReceive = 2;
    private const int ControlTransmit = 3;

    [Fact]
    public void What_the_guest_prints_goes_out_however_its_buffers_are_cut()
    {
        (ConsolePort port, UnixSocket host) = Connected("console", isConsole: true);
        using (host)
        {
            using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", port));
            guest.Queue(Transmit).Add(["he"u8.ToArray(), "l"u8.ToArray(), "lo"u8.ToArray()]);
            guest.Kick(Transmit).RunUntilIdle();
            Assert.Equal("hello", Read(host));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Emergency_writes_go_out_in_order_without_a_queue_5_3_4(bool beforeTheDriverIsReady)
    {
        (ConsolePort port, UnixSocket host) = Connected("console", isConsole: true);
        using (host)
        {
            using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", port));
            if (beforeTheDriverIsReady) guest.Reset();
            foreach (char letter in "panic") guest.Driver.WriteConfig(ConsoleProtocol.ConfigEmergencyWrite, (uint)letter);
            guest.RunUntilIdle();
            Assert.Equal("panic", Read(host));
        }
    }

    [Fact]
    public void What_the_host_types_fills_the_guests_buffers_one_after_the_other()
    {
        (ConsolePort port, UnixSocket host) = Connected("console", isConsole: true);
        using (host)
        {
            using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", port));
            DriverRequest[] requests = [.. Enumerable.Range(0, 3).Select(_ => guest.Queue(Receive).Add(writable: [2, 2]))];
            guest.Kick(Receive).RunUntilIdle();
            Write(host, "abcdef");
            guest.RunUntil(() => requests[1].IsUsed);
            Assert.Equal("abcd", Encoding.ASCII.GetString(requests[0].Written));
            Assert.Equal("ef", Encoding.ASCII.GetString(requests[1].Written));
            Assert.False(requests[2].IsUsed);
        }
    }

    [Fact]
    public void A_host_that_does_not_read_holds_the_guest_of_a_port_that_keeps_nothing_and_nothing_is_lost()
    {
        (ConsolePort port, UnixSocket host) = Connected(new ConsolePort("console", isConsole: true) { KeepBytes = null });
        using (host)
        {
            using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", port));
            byte[] sent = BlockGuest.Pattern(2 << 20);
            DriverRequest[] requests = [.. Enumerable.Range(0, 32).Select(i => guest.Queue(Transmit).Add([sent[(i << 16)..((i + 1) << 16)]]))];
            guest.Kick(Transmit).RunUntilIdle();
            Assert.False(requests[^1].IsUsed);
            Assert.InRange(guest.Queue(Transmit).InFlight, 1, 32);

            MemoryStream got = new();
            byte[] buffer = new byte[1 << 16];
            guest.RunUntil(() =>
            {
                while (StreamCalls.Read(host.Number, buffer, out int length) == Errno.None && length > 0) got.Write(buffer, 0, length);
                return got.Length == sent.Length;
            });
            Assert.Equal(sent, got.ToArray());
            guest.RunUntil(() => requests.All(request => request.IsUsed));
        }
    }

    [Fact]
    public void A_guest_that_does_not_read_holds_the_host_and_nothing_is_lost()
    {
        (ConsolePort port, UnixSocket host) = Connected("console", isConsole: true);
        using (host)
        {
            using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", port));
            byte[] sent = BlockGuest.Pattern(1 << 20);
            int accepted = 0;
            while (StreamCalls.Write(host.Number, sent.AsSpan(accepted), out int length) == Errno.None) accepted += length;
            guest.RunUntilIdle();
            Assert.NotEqual(Errno.None, StreamCalls.Write(host.Number, sent.AsSpan(accepted), out _));

            MemoryStream got = new();
            while (got.Length < accepted)
            {
                DriverRequest request = guest.Queue(Receive).Add(writable: [1500]);
                guest.Kick(Receive).RunUntil(() => request.IsUsed);
                got.Write(request.Written);
                guest.Queue(Receive).Free(request);
            }
            Assert.Equal(sent[..accepted], got.ToArray());
        }
    }

    [Fact]
    public void The_size_is_in_the_configuration_and_a_change_is_told_5_3_4()
    {
        ConsoleDevice device = new("console0", new ConsolePort("console", isConsole: true));
        using SimulatedGuest guest = SimulatedGuest.For(device);
        device.Resize(132, 43);
        guest.RunUntilIdle();
        Assert.Equal((132, 43), (guest.Driver.ReadConfig<ushort>(0), guest.Driver.ReadConfig<ushort>(2)));
        Assert.Equal(1, guest.ConfigInterrupts);
    }

    [Fact]
    public void Ports_are_announced_named_and_opened_5_3_6_2()
    {
        (ConsolePort agent, UnixSocket host) = Connected("org.example.agent", isConsole: false);
        using (host)
        {
            ConsoleDevice device = new("console0", new ConsolePort("console", isConsole: true), agent);
            device.Resize(80, 25);
            using SimulatedGuest guest = SimulatedGuest.For(device);
            Assert.Equal(2u, guest.Driver.ReadConfig<uint>(4));
            Assert.Equal([(0u, ConsoleEvent.DeviceAdd, 1, ""), (1u, ConsoleEvent.DeviceAdd, 1, "")], Say(guest, uint.MaxValue, ConsoleEvent.DeviceReady, 1, 2));
            Assert.Equal([(0u, ConsoleEvent.ConsolePort, 1, ""), (0u, ConsoleEvent.Resize, 1, "\x50\0\x19\0"), (0u, ConsoleEvent.PortName, 1, "console")],
                Say(guest, 0, ConsoleEvent.PortReady, 1, 3));
            Assert.Equal([(1u, ConsoleEvent.PortName, 1, "org.example.agent"), (1u, ConsoleEvent.PortOpen, 1, "")],
                Say(guest, 1, ConsoleEvent.PortReady, 1, 2));

            agent.Disconnect();
            Assert.Equal([(1u, ConsoleEvent.PortOpen, 0, "")], Hear(guest, 1));
            device.Resize(81, 25);
            Assert.Equal([(0u, ConsoleEvent.Resize, 1, "\x51\0\x19\0")], Hear(guest, 1));
        }
    }

    [Fact]
    public void A_port_the_guest_has_not_opened_gets_nothing_and_loses_nothing_5_3_6_2()
    {
        (ConsolePort agent, UnixSocket host) = Connected("agent", isConsole: false);
        using (host)
        {
            using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", agent));
            DriverRequest request = guest.Queue(Receive).Add(writable: [64]);
            guest.Kick(Receive);
            Write(host, "early");
            guest.RunUntilIdle();
            Assert.False(request.IsUsed);
            Say(guest, 0, ConsoleEvent.PortOpen, 1, 0);
            guest.RunUntil(() => request.IsUsed);
            Assert.Equal("early", Encoding.ASCII.GetString(request.Written));
        }
    }

    [Fact]
    public void A_driver_that_never_takes_control_messages_makes_nothing_grow()
    {
        ConsolePort port = new("agent");
        using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", port));
        for (int i = 0; i < 1000; i++)
        {
            Say(guest, 0, ConsoleEvent.PortReady, 1, 0);
            if (i % 10 == 0) port.Connect(null, null);
            if (i % 10 == 5) port.Disconnect();
        }
        // One message of each kind, and the state as it is now.
        Assert.Equal([(0u, ConsoleEvent.PortName, 1, "agent"), (0u, ConsoleEvent.PortOpen, 0, "")], Hear(guest, 2));
        guest.Queue(ControlReceive).Add(writable: [64]);
        Assert.Equal(1, guest.Kick(ControlReceive).RunUntilIdle().Queue(ControlReceive).InFlight);
    }

    [Theory]
    [InlineData(7, 0)]
    [InlineData(8, 9)]
    public void Control_messages_that_make_no_sense_are_the_drivers_fault_5_3_6_2(int length, byte port)
    {
        using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", new ConsolePort("agent")));
        byte[] message = [port, 0, 0, 0, (byte)ConsoleEvent.PortOpen, 0, 1, 0];
        guest.Queue(ControlTransmit).Add([message[..length]]);
        guest.Kick(ControlTransmit).RunUntilIdle();
        Assert.True(guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset));
    }

    [Fact]
    public void A_reset_keeps_the_host_side_for_the_next_driver()
    {
        (ConsolePort port, UnixSocket host) = Connected("console", isConsole: true);
        using (host)
        {
            using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", port));
            guest.Reset();
            Assert.True(port.IsConnected);
            Write(host, "after");
            guest.Start();
            DriverRequest request = guest.Queue(Receive).Add(writable: [64]);
            guest.Kick(Receive).RunUntil(() => request.IsUsed);
            Assert.Equal("after", Encoding.ASCII.GetString(request.Written));
        }
    }

    [Fact]
    public void A_reset_in_the_middle_of_output_the_host_does_not_take_is_not_held_up()
    {
        (ConsolePort port, UnixSocket host) = Connected(new ConsolePort("console", isConsole: true) { KeepBytes = null });
        using (host)
        {
            using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", port));
            for (int i = 0; i < 16; i++) guest.Queue(Transmit).Add([new byte[1 << 16]]);
            guest.Kick(Transmit).RunUntilIdle();
            guest.Reset();
            Assert.Equal(DeviceStatus.None, guest.Driver.Status);
        }
    }

    [Fact]
    public void A_pseudo_terminal_carries_both_ways()
    {
        ConsolePort port = new("console", isConsole: true);
        using PseudoTerminal terminal = new();
        terminal.Connect(port);
        using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", port));
        using FileStream user = new(terminal.Path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
        guest.Queue(Transmit).Add(["login: "u8.ToArray()]);
        guest.Kick(Transmit).RunUntilIdle();
        byte[] prompt = new byte[7];
        user.ReadExactly(prompt);
        Assert.Equal("login: ", Encoding.ASCII.GetString(prompt));

        DriverRequest request = guest.Queue(Receive).Add(writable: [16]);
        guest.Kick(Receive);
        user.Write("root\r"u8);
        guest.RunUntil(() => request.IsUsed);
        Assert.Equal("root\r", Encoding.ASCII.GetString(request.Written));
    }

    [Fact]
    public void Whoever_connects_to_a_socket_has_the_port_until_he_hangs_up()
    {
        string path = Path.Combine(Path.GetTempPath(), $"vmm-console-{Guid.NewGuid():n}");
        ConsolePort port = new("console", isConsole: true);
        using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", port));
        using ReactorThread accepting = new();
        accepting.Start();
        using ConsoleListener listener = new(port, path, accepting.Remote);
        foreach (string text in (string[])["first", "second"])
        {
            using Socket user = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            user.Connect(new UnixDomainSocketEndPoint(path));
            DriverRequest request = guest.Queue(Receive).Add(writable: [16]);
            guest.Kick(Receive);
            user.Send(Encoding.ASCII.GetBytes(text));
            guest.RunUntil(() => request.IsUsed);
            Assert.Equal(text, Encoding.ASCII.GetString(request.Written));
            user.Close();
            guest.RunUntil(() => !port.IsConnected);
        }
    }

    [Fact]
    public void Input_from_a_file_is_given_to_its_end()
    {
        using ScratchImage file = new(0);
        byte[] content = BlockGuest.Pattern(10_000);
        file.Bytes = content;
        ConsolePort port = new("console", isConsole: true);
        port.Connect(new OwnedFd(FileCalls.Open(file.Path, FileCalls.O_RDONLY | FileCalls.O_CLOEXEC)), null);
        using SimulatedGuest guest = SimulatedGuest.For(new ConsoleDevice("console0", port));
        DriverRequest request = guest.Queue(Receive).Add(writable: [4096]);
        DriverRequest second = guest.Queue(Receive).Add(writable: [4096]);
        DriverRequest third = guest.Queue(Receive).Add(writable: [4096]);
        guest.Queue(Receive).Add(writable: [4096]);
        guest.Kick(Receive).RunUntilIdle();
        Assert.Equal(content, (byte[])[.. request.Written, .. second.Written, .. third.Written]);
    }

    private static (ConsolePort Port, UnixSocket Host) Connected(string name, bool isConsole) => Connected(new ConsolePort(name, isConsole));

    private static (ConsolePort Port, UnixSocket Host) Connected(ConsolePort port)
    {
        (UnixSocket device, UnixSocket host) = UnixSocket.Pair();
        port.Connect(device, SerialOutput.To(device.Duplicate()));
        return (port, host);
    }

    /// <summary>Says something on the control queue, and takes what comes back.</summary>
    private static List<(uint Port, ConsoleEvent Event, int Value, string Text)> Say(SimulatedGuest guest, uint port, ConsoleEvent what, ushort value, int answers)
    {
        byte[] message = new byte[8];
        BinaryPrimitives.WriteUInt32LittleEndian(message, port);
        BinaryPrimitives.WriteUInt16LittleEndian(message.AsSpan(4), (ushort)what);
        BinaryPrimitives.WriteUInt16LittleEndian(message.AsSpan(6), value);
        guest.Queue(ControlTransmit).Add([message]);
        guest.Kick(ControlTransmit).RunUntilIdle();
        return Hear(guest, answers);
    }

    private static List<(uint Port, ConsoleEvent Event, int Value, string Text)> Hear(SimulatedGuest guest, int count)
    {
        DriverRequest[] requests = [.. Enumerable.Range(0, count).Select(_ => guest.Queue(ControlReceive).Add(writable: [128]))];
        guest.Kick(ControlReceive).RunUntilIdle();
        return [.. requests.Select(request =>
        {
            Assert.True(request.IsUsed);
            byte[] got = request.Written;
            return (BinaryPrimitives.ReadUInt32LittleEndian(got), (ConsoleEvent)BinaryPrimitives.ReadUInt16LittleEndian(got.AsSpan(4)),
                (int)BinaryPrimitives.ReadUInt16LittleEndian(got.AsSpan(6)), Encoding.ASCII.GetString(got.AsSpan(8)));
        })];
    }

    private static string Read(UnixSocket host)
    {
        byte[] bytes = new byte[4096];
        StreamCalls.Read(host.Number, bytes, out int length);
        return Encoding.ASCII.GetString(bytes, 0, length);
    }

    private static void Write(UnixSocket host, string text)
    {
        Assert.Equal(Errno.None, StreamCalls.Write(host.Number, Encoding.ASCII.GetBytes(text), out int written));
        Assert.Equal(text.Length, written);
    }
}
