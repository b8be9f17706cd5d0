using System.Net.Sockets;
using System.Text;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>The host side of a serial port, with each way to wait.</summary>
[Trait("Device", "serial port")]
[Trait("Rings", "none")]
public abstract class SerialBackendTests : IDisposable
{
    private static readonly TimeSpan Watchdog = TimeSpan.FromSeconds(30);

    private readonly Reactor _reactor;
    private readonly Uart16550 _uart = new(new CountingLine());
    private readonly SocketPair _pair = new();
    private readonly OwnedFd _line;
    private readonly Socket _host;

    private protected SerialBackendTests(PollerKind poller)
    {
        _reactor = new Reactor(new ReactorOptions { Poller = poller });
        _line = _pair.TakeFd();
        _host = _pair.Host;
    }

    [Fact]
    public void Bytes_flow_both_ways()
    {
        Connect(_line, SerialOutput.To(_line.Duplicate()));
        _host.Send("in"u8);
        TurnUntil(() => _uart.InputRoom < Uart16550.InputBacklogMax || HasData());
        Assert.Equal((byte)'i', Read(UartRegister.Data));
        Assert.Equal((byte)'n', Read(UartRegister.Data));
        Write("out");
        TurnUntil(() => _host.Available >= 3);
        byte[] got = new byte[8];
        Assert.Equal("out", Encoding.ASCII.GetString(got, 0, _host.Receive(got)));
    }

    [Fact]
    [Trait("Source", "CVE-2020-27174 (Firecracker: serial input kept without bound), from a real descriptor")]
    [Trait("Outcome", "the host is held")]
    public void A_guest_that_does_not_read_leaves_the_input_with_the_host()
    {
        SerialBackend backend = Connect(_line, null);
        byte[] flood = new byte[Uart16550.InputBacklogMax * 4];
        for (int i = 0; i < flood.Length; i++) flood[i] = (byte)(i * 7);
        Assert.Equal(flood.Length, _host.Send(flood));
        TurnUntil(() => _uart.InputRoom == 0);
        long held = backend.BytesIn;
        for (int i = 0; i < 10; i++) _reactor.RunOnce(TimeSpan.Zero);
        long events = _reactor.Statistics.Events;
        for (int i = 0; i < 10; i++) _reactor.RunOnce(TimeSpan.Zero);
        Assert.Equal(held, backend.BytesIn);
        Assert.Equal(events, _reactor.Statistics.Events);

        foreach (byte expected in flood)
        {
            TurnUntil(HasData);
            Assert.Equal(expected, Read(UartRegister.Data));
        }
        Assert.Equal(flood.Length, backend.BytesIn);
    }

    [Fact]
    [Trait("Source", "a peer that hangs up behind input that is not read: a hang-up that is reported for ever")]
    [Trait("Outcome", "no wake-ups")]
    public void A_hang_up_behind_unread_input_costs_no_events_and_drops_the_carrier_at_the_end()
    {
        Connect(_line, null);
        _host.Send(new byte[Uart16550.InputBacklogMax + 1]);
        TurnUntil(() => _uart.InputRoom == 0);
        _host.Shutdown(SocketShutdown.Both);
        for (int i = 0; i < 10; i++) _reactor.RunOnce(TimeSpan.Zero);
        long events = _reactor.Statistics.Events;
        for (int i = 0; i < 10; i++) _reactor.RunOnce(TimeSpan.Zero);
        Assert.Equal(events, _reactor.Statistics.Events);
        for (int i = 0; i < Uart16550.InputBacklogMax + 1; i++)
        {
            Assert.True(HasCarrier() || i > Uart16550.InputBacklogMax / 2);
            Read(UartRegister.Data);
        }
        TurnUntil(() => !HasCarrier());
    }

    [Fact]
    public void A_host_that_does_not_take_output_stops_the_transmitter_and_loses_nothing()
    {
        SerialBackend backend = Connect(null, SerialOutput.To(_line));
        int sent = 0;
        bool stalled = false;
        while (!stalled)
        {
            while (HasRoom()) Write([(byte)(sent++ * 3)]);
            long before = backend.BytesOut;
            for (int i = 0; i < 20; i++) _reactor.RunOnce(TimeSpan.Zero);
            stalled = backend.BytesOut == before;
        }
        byte[] chunk = new byte[1 << 16];
        int received = 0;
        while (received < sent)
        {
            _reactor.RunOnce(TimeSpan.Zero);
            if (_host.Available == 0) continue;
            int length = _host.Receive(chunk);
            for (int i = 0; i < length; i++) Assert.Equal((byte)(received++ * 3), chunk[i]);
        }
        Assert.Equal(0, _uart.LostBytes);
        Assert.Equal(0, _uart.OutputBacklog);
    }

    [Fact]
    public void Output_to_a_host_that_is_gone_is_dropped()
    {
        SerialBackend backend = Connect(null, SerialOutput.To(_line));
        _host.Dispose();
        Write("gone");
        TurnUntil(() => _uart.OutputBacklog == 0);
        Write("again");
        TurnUntil(() => _uart.OutputBacklog == 0);
        Assert.Equal(0, _uart.LostBytes);
        Assert.Equal(0, _reactor.Statistics.HandlerFailures);
        Assert.True(backend.WaitForOutput(Watchdog));
    }

    [Fact]
    public void A_file_as_input_is_read_as_far_as_there_is_room()
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(path, new byte[Uart16550.InputBacklogMax * 2]);
            using Microsoft.Win32.SafeHandles.SafeFileHandle file = File.OpenHandle(path);
            using OwnedFd borrowed = new((int)file.DangerousGetHandle());
            Connect(borrowed.Duplicate(), null);
            borrowed.SetHandleAsInvalid();
            Assert.Equal(0, _uart.InputRoom);
            for (int i = 0; i < Uart16550.InputBacklogMax * 2; i++)
            {
                TurnUntil(HasData);
                Read(UartRegister.Data);
            }
            TurnUntil(() => !HasCarrier());
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void Output_to_a_file_goes_behind_what_it_holds()
    {
        string path = Path.GetTempFileName();
        try
        {
            using (FileStream file = new(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0))
            {
                file.Write("before "u8);
                using OwnedFd borrowed = new((int)file.SafeFileHandle.DangerousGetHandle());
                Connect(null, SerialOutput.To(borrowed.Duplicate()));
                borrowed.SetHandleAsInvalid();
                Write("after");
                TurnUntil(() => _uart.OutputBacklog == 0);
            }
            Assert.EndsWith("after", File.ReadAllText(path));
        }
        finally
        {
            File.Delete(path);
        }
    }

    public void Dispose()
    {
        GC.SuppressFinalize(this);
        _reactor.Dispose();
        _pair.Dispose();
        _line.Dispose();
    }

    [Fact]
    public async Task A_mirror_shows_output_and_types_beside_the_line()
    {
        ConsoleMirror mirror = new();
        Connect(_line, SerialOutput.To(_line.Duplicate()), mirror);
        ConsoleView view = mirror.Open();
        Write("out");
        TurnUntil(() => _host.Available >= 3);
        byte[] got = new byte[8];
        Assert.Equal("out", Encoding.ASCII.GetString(got, 0, view.Read(got)));
        await mirror.TypeAsync("t"u8.ToArray(), TestContext.Current.CancellationToken);
        TurnUntil(HasData);
        Assert.Equal((byte)'t', Read(UartRegister.Data));
        _host.Send("h"u8);
        TurnUntil(HasData);
        Assert.Equal((byte)'h', Read(UartRegister.Data));
        _host.Shutdown(SocketShutdown.Both);
        TurnUntil(() => !HasCarrier());
        Assert.False(mirror.TakesInput);
    }

    [Fact]
    public async Task Without_input_the_line_of_a_mirror_stays_connected_and_takes_more_than_it_has_room_for()
    {
        ConsoleMirror mirror = new();
        Connect(null, null, mirror);
        byte[] typed = new byte[ConsoleMirror.TypedBytesMax];
        for (int i = 0; i < typed.Length; i++) typed[i] = (byte)(i * 7);
        Task[] writers = [.. Enumerable.Range(0, 4).Select(_ => mirror.TypeAsync(typed, TestContext.Current.CancellationToken))];
        for (int i = 0; i < writers.Length * typed.Length; i++)
        {
            TurnUntil(HasData);
            Assert.Equal(typed[i % typed.Length], Read(UartRegister.Data));
        }
        await Task.WhenAll(writers);
        Assert.True(HasCarrier());
    }

    [Fact]
    public void Behind_a_script_a_mirror_only_shows()
    {
        ConsoleMirror mirror = new();
        Connect(null, null, mirror, "s"u8.ToArray());
        Assert.False(mirror.TakesInput);
        TurnUntil(HasData);
        Assert.Equal((byte)'s', Read(UartRegister.Data));
        TurnUntil(() => !HasCarrier());
    }

    private SerialBackend Connect(OwnedFd? input, ISerialOutput? output, ConsoleMirror? mirror = null, ReadOnlyMemory<byte> script = default)
    {
        _uart.Write(UartRegister.ModemControl, [(byte)UartModemControl.DataTerminalReady]);
        SerialBackend backend = new(_uart, _reactor.Remote, input, output, null, script, mirror);
        backend.RegisterInto(_reactor);
        return backend;
    }

    private void TurnUntil(Func<bool> condition)
    {
        long deadline = Environment.TickCount64 + (long)Watchdog.TotalMilliseconds;
        while (!condition())
        {
            Assert.True(Environment.TickCount64 < deadline, "nothing happened");
            _reactor.RunOnce(TimeSpan.FromMilliseconds(1));
        }
    }

    private bool HasData() => (Read(UartRegister.LineStatus) & (byte)UartLineStatus.DataReady) != 0;

    private bool HasRoom() => (Read(UartRegister.LineStatus) & (byte)UartLineStatus.TransmitterHoldingEmpty) != 0;

    private bool HasCarrier() => (Read(UartRegister.ModemStatus) & (byte)UartModemStatus.Carrier) != 0;

    private byte Read(int register)
    {
        byte[] data = new byte[1];
        _uart.Read((ulong)register, data);
        return data[0];
    }

    private void Write(string text) => Write(Encoding.ASCII.GetBytes(text));

    private void Write(ReadOnlySpan<byte> bytes)
    {
        foreach (byte value in bytes) _uart.Write(UartRegister.Data, [value]);
    }
}

public sealed class SerialBackendOnEpollTests() : SerialBackendTests(PollerKind.Epoll);

public sealed class SerialBackendOnIoRingTests() : SerialBackendTests(PollerKind.IoRing);
