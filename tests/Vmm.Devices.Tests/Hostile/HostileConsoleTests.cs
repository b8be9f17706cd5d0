using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>A console whose guest floods, never reads, or says what makes no sense; and whose host does not read either.</summary>
[Trait("Device", "console")]
public sealed class HostileConsoleTests
{
    private const int Receive = 0, Transmit = 1, ControlReceive = 2, ControlTransmit = 3;
    private const long OutputBytesPerTurnMax = 256 * 1024;

    public static TheoryData<HostileCase> Cases => HostileCase.Of("console");

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "CVE-2020-27174 (Firecracker: serial input kept without bound), here for the virtio console")]
    [Trait("Outcome", "the host is held; at most one chunk waits")]
    public void A_flood_of_input_that_is_not_read_stays_with_the_host(HostileCase @case)
    {
        ConsolePort port = new("console", isConsole: true);
        using UnixSocket host = Connect(port, out _);
        using SimulatedGuest guest = @case.Guest(new ConsoleDevice("console0", port));
        using Neighbour neighbour = new(guest);
        byte[] flood = new byte[1 << 16];
        long sent = 0;
        // Nothing is read beyond one chunk: the socket fills, and says so.
        for (int round = 0; round < 100; round++)
        {
            while (StreamCalls.Write(host.Number, flood, out int length) == Errno.None && length > 0) sent += length;
            guest.RunUntilIdle();
        }
        long events = guest.Reactor.Statistics.Events;
        for (int i = 0; i < 5; i++) guest.Reactor.RunOnce(TimeSpan.FromMilliseconds(5));
        Assert.Equal(events, guest.Reactor.Statistics.Events);
        Assert.NotEqual(Errno.None, StreamCalls.Write(host.Number, flood, out _));

        long got = 0;
        while (got < sent)
        {
            DriverRequest made = guest.Queue(Receive).Add(writable: [8192]);
            guest.Kick(Receive).RunUntil(() => made.IsUsed);
            got += made.UsedLength;
            guest.Queue(Receive).Free(made);
        }
        Assert.Equal(sent, got);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "gigabytes of output by descriptors that name the same memory over and over")]
    [Trait("Outcome", "sent a turn at a time; a reset does not wait for it")]
    public void Gigabytes_of_output_go_a_turn_at_a_time(HostileCase @case)
    {
        ConsolePort port = new("console", isConsole: true);
        CountingOutput output = new();
        port.Connect(null, output);
        using SimulatedGuest guest = @case.Guest(new ConsoleDevice("console0", port));
        using Neighbour neighbour = new(guest);
        DriverRequest made = guest.Queue(Transmit).Add([.. Enumerable.Repeat(new GuestBuffer(32 << 20, 16 << 20), 120)], []);
        guest.Driver.Kick(Transmit);
        for (int turn = 0; turn < 50; turn++)
        {
            long before = output.Bytes;
            guest.Reactor.RunOnce(TimeSpan.Zero);
            Assert.InRange(output.Bytes - before, 0, 2 * OutputBytesPerTurnMax);
        }
        Assert.InRange(output.Bytes, 25 * OutputBytesPerTurnMax, long.MaxValue);
        Assert.False(made.IsUsed);
        guest.Reset();
        Assert.Equal(DeviceStatus.None, guest.Driver.Status);
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "virtio 1.2 § 5.3.6.2: control messages of ports and events that do not exist, and cut short")]
    [Trait("Outcome", "ignored, or needs reset")]
    public void Control_messages_that_make_no_sense_are_ignored_or_refused(HostileCase @case)
    {
        using SimulatedGuest guest = @case.Guest(new ConsoleDevice("console0", new ConsolePort("console", isConsole: true), new ConsolePort("agent")));
        using Neighbour neighbour = new(guest);
        foreach (uint port in (uint[])[0, 1, 2, 31, 0x8000_0000, uint.MaxValue])
        {
            foreach (ushort message in (ushort[])[0, 1, 2, 3, 4, 5, 6, 7, 8, 0x8000, ushort.MaxValue])
            {
                foreach (ushort value in (ushort[])[0, 1, 2, ushort.MaxValue])
                {
                    DriverRequest made = guest.Queue(ControlTransmit).Add([[.. BitConverter.GetBytes(port), .. BitConverter.GetBytes(message), .. BitConverter.GetBytes(value)]]);
                    guest.Kick(ControlTransmit).RunUntilIdle();
                    Assert.True(made.IsUsed);
                    if (guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset)) guest.Reset().Start();
                    else guest.Queue(ControlTransmit).Free(made);
                }
            }
        }
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("Source", "a driver that asks for answers without end and never takes them: a device that queues them")]
    [Trait("Outcome", "one of each is pending")]
    public void Control_messages_that_are_not_taken_do_not_pile_up(HostileCase @case)
    {
        using SimulatedGuest guest = @case.Guest(new ConsoleDevice("console0", new ConsolePort("console", isConsole: true), new ConsolePort("agent")));
        using Neighbour neighbour = new(guest);
        for (int i = 0; i < 5_000; i++)
        {
            DriverRequest made = guest.Queue(ControlTransmit).Add([[(byte)(i % 2), 0, 0, 0, (byte)(i % 3 == 0 ? ConsoleEvent.DeviceReady : ConsoleEvent.PortReady), 0, 1, 0]]);
            guest.Kick(ControlTransmit).RunUntilIdle();
            guest.Queue(ControlTransmit).Free(made);
        }
        DriverRequest[] taken = [.. Enumerable.Range(0, 30).Select(_ => guest.Queue(ControlReceive).Add(writable: [80]))];
        guest.Kick(ControlReceive).RunUntilIdle();
        Assert.InRange(taken.Count(each => each.IsUsed), 2, 10);
    }

    private static UnixSocket Connect(ConsolePort port, out UnixSocket device)
    {
        (device, UnixSocket host) = UnixSocket.Pair();
        port.Connect(device, SerialOutput.To(device.Duplicate()));
        return host;
    }

    private sealed class CountingOutput : ISerialOutput
    {
        internal long Bytes { get; private set; }

        public OwnedFd? Ready => null;

        public Errno Write(ReadOnlySpan<byte> bytes, out int written)
        {
            Bytes += written = bytes.Length;
            return Errno.None;
        }

        public void Dispose()
        {
        }
    }
}
