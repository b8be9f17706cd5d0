using System.Text.Json.Nodes;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>The chips of a PC in another process.</summary>
public sealed class SavedChipTests
{
    private readonly CountingLine _line = new();
    private readonly CountingClock _clock = new(new DateTimeOffset(2031, 12, 24, 23, 58, 59, TimeSpan.Zero));

    [Fact]
    public void A_serial_port_goes_on_with_its_registers_and_every_byte_on_its_way()
    {
        Uart16550 before = Port(), after = new(_line);
        Write(before, UartRegister.FifoControl, 0x81);
        Write(before, UartRegister.InterruptEnable, 0x0f);
        Write(before, UartRegister.Scratch, 0xa5);
        byte[] printed = BlockGuest.Pattern(Uart16550.OutputBacklogMax + Uart16550.FifoSize);
        foreach (byte each in printed) Write(before, UartRegister.Data, each);
        byte[] typed = BlockGuest.Pattern(Uart16550.InputBacklogMax, seed: 2);
        before.TryGiveInput(typed, out int taken);
        before.TryGiveInput(typed.AsSpan(taken), out _);
        // The next process's host typed already.
        after.TryGiveInput("more"u8, out _);
        SavedState.Move(before, after);
        Assert.True(_line.IsUp);
        Assert.Equal((0xa5, 0x0f), (Read(after, UartRegister.Scratch), Read(after, UartRegister.InterruptEnable)));
        Assert.Equal([.. typed, .. "more"u8], ReadAll(after));
        Assert.Equal(printed, Output(after));
        Assert.Equal(0, after.LostBytes);
    }

    [Fact]
    public void A_serial_port_whose_wire_is_gone_says_so_to_its_guest()
    {
        Uart16550 before = Port(), after = new(_line);
        Assert.Equal(UartModemStatus.Carrier, (UartModemStatus)Read(before, UartRegister.ModemStatus) & UartModemStatus.Carrier);
        after.EndInput();
        SavedState.Move(before, after);
        Assert.Equal(UartModemStatus.CarrierChanged, (UartModemStatus)Read(after, UartRegister.ModemStatus) & (UartModemStatus.Carrier | UartModemStatus.CarrierChanged));
    }

    [Theory]
    [InlineData("received", "AAAA")]
    [InlineData("received", "AA")]
    [InlineData("transmit", "AAAA")]
    [InlineData("trigger", 17)]
    [InlineData("divisor", -1)]
    [InlineData("interrupt-enable", "0x10")]
    public void A_serial_port_takes_nothing_that_no_chip_has(string name, object value) =>
        Assert.Throws<StateException>(() => SavedState.Move(Port(), new Uart16550(_line), root => root[name] = JsonNode.Parse(value is string text ? $"\"{text}\"" : $"{value}")));

    [Fact]
    public void A_clock_goes_on_as_far_ahead_as_the_guest_had_set_it()
    {
        using CmosDevice before = new(_clock, 3UL << 30), after = new(_clock);
        Set(before, 0x0b, 0x82);
        foreach ((byte index, byte value) in (ReadOnlySpan<(byte, byte)>)[(0x00, 0), (0x02, 0x30), (0x04, 0x10), (0x07, 0x29), (0x08, 0x02), (0x09, 0x28), (0x32, 0x20)])
            Set(before, index, value);
        Set(before, 0x0b, 0x02);
        Set(before, 0x40, 0x77);
        _clock.Advance(TimeSpan.FromSeconds(20));
        SavedState.Move(before, after);
        // The host's own clock goes on while the machine is away.
        _clock.Advance(TimeSpan.FromSeconds(11));
        Assert.Equal((0x31, 0x30, 0x10, 0x29), (Get(after, 0x00), Get(after, 0x02), Get(after, 0x04), Get(after, 0x07)));
        Assert.Equal((0x77, Get(before, 0x34), 0x80), (Get(after, 0x40), Get(after, 0x34), Get(after, 0x0d)));
    }

    [Fact]
    public void An_alarm_that_came_while_the_machine_was_away_comes_when_it_is_back()
    {
        using CmosDevice before = new(_clock, interrupt: new CountingLine());
        foreach ((byte index, byte value) in (ReadOnlySpan<(byte, byte)>)[(0x01, 0x09), (0x03, 0x59), (0x05, 0x23), (0x0b, 0x22)]) Set(before, index, value);
        byte[] state = SavedState.Written(((ISavedState)before).Save);
        _clock.Advance(TimeSpan.FromMinutes(5));
        using CmosDevice after = new(_clock, interrupt: _line);
        ((ISavedState)after).Restore(StateReader.Parse(state, "state"));
        Assert.False(_line.IsUp);
        _clock.Advance(TimeSpan.FromMilliseconds(1));
        Assert.True(_line.IsUp);
        Assert.Equal(0xb0, Get(after, 0x0c));
        Assert.False(_line.IsUp);
    }

    [Fact]
    public void A_clock_that_interrupts_does_so_in_the_next_process()
    {
        using CmosDevice before = new(_clock, interrupt: new CountingLine()), after = new(_clock, interrupt: _line);
        Set(before, 0x0b, 0x12);
        _clock.Advance(TimeSpan.FromSeconds(2));
        SavedState.Move(before, after);
        Assert.True(_line.IsUp);
    }

    [Theory]
    [InlineData("ahead-ms", long.MaxValue)]
    [InlineData("ahead-ms", long.MinValue)]
    [InlineData("looked-unix-ms", long.MaxValue)]
    [InlineData("looked-unix-ms", -62_135_596_800_001)]
    [InlineData("looked-unix-ms", 253_402_300_799_999)]
    public void A_clock_takes_no_time_that_it_could_not_be_set_to(string name, long value)
    {
        using CmosDevice before = new(_clock), after = new(_clock);
        Assert.Throws<StateException>(() => SavedState.Move(before, after, root => root[name] = value));
    }

    [Fact]
    public void A_keyboard_controller_answers_what_it_was_asked_before()
    {
        I8042Device before = new(() => { }), after = new(() => { });
        WritePort(before, 4, 0x60);
        WritePort(before, 0, 0x47);
        WritePort(before, 4, 0x20);
        WritePort(before, 4, 0x60);
        SavedState.Move(before, after);
        Assert.Equal((0x05, 0x47), (ReadPort(after, 4), ReadPort(after, 0)));
        // The command that waits for its byte.
        WritePort(after, 0, 0x01);
        WritePort(after, 4, 0x20);
        Assert.Equal(0x01, ReadPort(after, 0));
        SavedState.Move(after, before);
        Assert.Equal(0x04, ReadPort(before, 4));
    }

    private static Uart16550 Port()
    {
        Uart16550 port = new(new CountingLine());
        Write(port, UartRegister.ModemControl, (byte)UartModemControl.DataTerminalReady);
        return port;
    }

    private static void Write(Uart16550 port, int register, byte value) => port.Write((ulong)register, [value]);

    private static byte Read(Uart16550 port, int register)
    {
        byte[] value = [0];
        port.Read((ulong)register, value);
        return value[0];
    }

    private static byte[] ReadAll(Uart16550 port)
    {
        List<byte> read = [];
        while ((Read(port, UartRegister.LineStatus) & (byte)UartLineStatus.DataReady) != 0) read.Add(Read(port, UartRegister.Data));
        return [.. read];
    }

    private static byte[] Output(Uart16550 port)
    {
        MemoryStream output = new();
        byte[] chunk = new byte[1000];
        for (int length = port.PeekOutput(chunk); length > 0; length = port.PeekOutput(chunk))
        {
            output.Write(chunk, 0, length);
            port.SkipOutput(length);
        }
        return output.ToArray();
    }

    private static void Set(CmosDevice clock, byte index, byte value)
    {
        clock.Write(0, [index]);
        clock.Write(1, [value]);
    }

    private static byte Get(CmosDevice clock, byte index)
    {
        clock.Write(0, [index]);
        byte[] value = [0];
        clock.Read(1, value);
        return value[0];
    }

    private static void WritePort(I8042Device controller, ulong offset, byte value) => controller.Write(offset, [value]);

    private static byte ReadPort(I8042Device controller, ulong offset)
    {
        byte[] value = [0];
        controller.Read(offset, value);
        return value[0];
    }
}
