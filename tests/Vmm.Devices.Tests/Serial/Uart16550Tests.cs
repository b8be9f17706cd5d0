using System.Text;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

[Trait("Device", "serial port")]
[Trait("Rings", "none")]
public sealed class Uart16550Tests
{
    private readonly CountingLine _line = new();
    private readonly Uart16550 _uart;

    public Uart16550Tests()
    {
        _uart = new Uart16550(_line);
        Write(UartRegister.ModemControl, (byte)UartModemControl.DataTerminalReady);
    }

    [Fact]
    public void After_power_on_the_registers_hold_what_the_data_sheet_says()
    {
        byte[] registers = new byte[Uart16550.RegisterCount];
        new Uart16550(_line).Read(0, registers);
        Assert.Equal([0, 0, UartInterruptId.None, 0, 0, 0x60, 0xb0, 0], registers);
        Assert.False(_line.IsUp);
    }

    [Fact]
    public void Interrupt_enable_keeps_its_low_four_bits()
    {
        Write(UartRegister.InterruptEnable, 0xff);
        Assert.Equal(0x0f, Read(UartRegister.InterruptEnable));
    }

    [Fact]
    public void Modem_control_keeps_its_low_five_bits()
    {
        Write(UartRegister.ModemControl, 0xff);
        Assert.Equal(0x1f, Read(UartRegister.ModemControl));
    }

    [Theory]
    [InlineData(UartRegister.LineControl, 0x5b)]
    [InlineData(UartRegister.Scratch, 0xa5)]
    public void Line_control_and_scratch_keep_every_bit(int register, byte value)
    {
        Write(register, value);
        Assert.Equal(value, Read(register));
    }

    [Fact]
    public void The_divisor_latch_hides_data_and_interrupt_enable()
    {
        Write(UartRegister.InterruptEnable, 0x05);
        Write(UartRegister.LineControl, (byte)UartLineControl.DivisorAccess);
        Write(UartRegister.Data, 0x34);
        Write(UartRegister.InterruptEnable, 0x12);
        Assert.Equal(0x34, Read(UartRegister.Data));
        Assert.Equal(0x12, Read(UartRegister.InterruptEnable));
        Write(UartRegister.LineControl, 0x03);
        Assert.Equal(0x05, Read(UartRegister.InterruptEnable));
        Assert.Equal(0, _uart.OutputBacklog);
    }

    [Fact]
    public void The_status_registers_can_not_be_written()
    {
        Write(UartRegister.LineStatus, 0xff);
        Write(UartRegister.ModemStatus, 0xff);
        Assert.Equal(0x60, Read(UartRegister.LineStatus));
        Assert.Equal(0xb0, Read(UartRegister.ModemStatus));
    }

    [Fact]
    public void The_fifo_bits_of_the_interrupt_id_tell_a_16550A()
    {
        Write(UartRegister.FifoControl, (byte)UartFifoControl.Enable);
        Assert.Equal(0xc1, Read(UartRegister.InterruptId));
        Write(UartRegister.FifoControl, 0);
        Assert.Equal(0x01, Read(UartRegister.InterruptId));
    }

    [Fact]
    public void Transmitted_bytes_reach_the_host_in_order()
    {
        foreach (byte value in "hello"u8) Write(UartRegister.Data, value);
        Assert.Equal("hello", TakeOutput());
        Assert.Equal("", TakeOutput());
    }

    [Fact]
    public void Without_fifos_one_byte_is_received_at_a_time()
    {
        Give("ab");
        Assert.Equal(0x61, Read(UartRegister.LineStatus));
        Assert.Equal((byte)'a', Read(UartRegister.Data));
        Assert.Equal((byte)'b', Read(UartRegister.Data));
        Assert.Equal(0x60, Read(UartRegister.LineStatus));
        Assert.Equal(0, Read(UartRegister.Data));
    }

    [Theory]
    [InlineData(0x00, 1)]
    [InlineData(0x40, 4)]
    [InlineData(0x80, 8)]
    [InlineData(0xc0, 14)]
    public void Received_data_interrupts_at_the_trigger_level_and_times_out_below_it(byte level, int trigger)
    {
        Write(UartRegister.FifoControl, (byte)(level | (byte)UartFifoControl.Enable));
        Write(UartRegister.InterruptEnable, (byte)UartInterrupts.ReceivedData);
        Give(new string('x', trigger - 1));
        Assert.Equal(trigger == 1 ? 0xc1 : 0xc0 | UartInterruptId.CharacterTimeout, Read(UartRegister.InterruptId));
        Give("x");
        Assert.Equal(0xc0 | UartInterruptId.ReceivedData, Read(UartRegister.InterruptId));
        Assert.True(_line.IsUp);
        for (int i = 0; i < trigger; i++) Read(UartRegister.Data);
        Assert.Equal(0xc1, Read(UartRegister.InterruptId));
        Assert.False(_line.IsUp);
    }

    [Fact]
    public void Clearing_the_receive_fifo_drops_what_the_chip_holds_and_takes_what_waits()
    {
        Write(UartRegister.FifoControl, (byte)UartFifoControl.Enable);
        Give(new string('a', Uart16550.FifoSize) + "b");
        Write(UartRegister.FifoControl, (byte)(UartFifoControl.Enable | UartFifoControl.ClearReceive));
        Assert.Equal((byte)'b', Read(UartRegister.Data));
        Assert.Equal(0x60, Read(UartRegister.LineStatus));
    }

    [Fact]
    public void Switching_the_fifos_clears_them()
    {
        Write(UartRegister.FifoControl, (byte)UartFifoControl.Enable);
        Give("abc");
        Write(UartRegister.FifoControl, 0);
        Assert.Equal(0x60, Read(UartRegister.LineStatus));
    }

    [Fact]
    public void The_transmitter_interrupt_comes_when_it_is_enabled_and_goes_when_it_is_identified()
    {
        Write(UartRegister.InterruptEnable, (byte)UartInterrupts.TransmitterEmpty);
        Assert.True(_line.IsUp);
        Assert.Equal(UartInterruptId.TransmitterEmpty, Read(UartRegister.InterruptId));
        Assert.Equal(UartInterruptId.None, Read(UartRegister.InterruptId));
        Assert.False(_line.IsUp);
    }

    [Fact]
    public void Enabling_the_transmitter_interrupt_again_raises_it_again_as_drivers_test()
    {
        // What the 8250 driver of Linux does at start-up to find chips that lose the interrupt.
        Write(UartRegister.InterruptEnable, (byte)UartInterrupts.TransmitterEmpty);
        Assert.Equal(UartInterruptId.TransmitterEmpty, Read(UartRegister.InterruptId));
        Write(UartRegister.InterruptEnable, 0);
        Write(UartRegister.InterruptEnable, (byte)UartInterrupts.TransmitterEmpty);
        Assert.Equal(UartInterruptId.TransmitterEmpty, Read(UartRegister.InterruptId));
        Write(UartRegister.InterruptEnable, 0);
        Assert.False(_line.IsUp);
    }

    [Fact]
    public void Each_transmitted_byte_is_a_new_edge_of_the_transmitter_interrupt()
    {
        Write(UartRegister.InterruptEnable, (byte)UartInterrupts.TransmitterEmpty);
        int before = _line.Asserts;
        Write(UartRegister.Data, (byte)'x');
        Assert.True(_line.IsUp);
        Assert.Equal(before + 1, _line.Asserts);
        Assert.Equal(UartInterruptId.TransmitterEmpty, Read(UartRegister.InterruptId));
    }

    [Fact]
    public void Reading_another_cause_leaves_the_transmitter_interrupt_pending()
    {
        Write(UartRegister.InterruptEnable, (byte)UartInterrupts.All);
        Give("x");
        Assert.Equal(UartInterruptId.ReceivedData, Read(UartRegister.InterruptId));
        Read(UartRegister.Data);
        Assert.Equal(UartInterruptId.TransmitterEmpty, Read(UartRegister.InterruptId));
    }

    [Fact]
    public void Interrupts_are_identified_by_falling_priority()
    {
        Write(UartRegister.InterruptEnable, (byte)UartInterrupts.All);
        Write(UartRegister.ModemControl, (byte)UartModemControl.Loopback);
        Write(UartRegister.Data, 1);
        Write(UartRegister.Data, 2);
        Assert.Equal(UartInterruptId.LineStatus, Read(UartRegister.InterruptId));
        Read(UartRegister.LineStatus);
        Assert.Equal(UartInterruptId.ReceivedData, Read(UartRegister.InterruptId));
        Read(UartRegister.Data);
        Assert.Equal(UartInterruptId.TransmitterEmpty, Read(UartRegister.InterruptId));
        Assert.Equal(UartInterruptId.ModemStatus, Read(UartRegister.InterruptId));
        Read(UartRegister.ModemStatus);
        Assert.Equal(UartInterruptId.None, Read(UartRegister.InterruptId));
        Assert.False(_line.IsUp);
    }

    [Fact]
    public void Loopback_brings_bytes_back_and_keeps_them_from_the_host()
    {
        Write(UartRegister.ModemControl, (byte)UartModemControl.Loopback);
        Write(UartRegister.Data, 0x5a);
        Assert.Equal(0x5a, Read(UartRegister.Data));
        Assert.Equal("", TakeOutput());
    }

    [Theory]
    [InlineData((byte)UartModemControl.DataTerminalReady, (byte)UartModemStatus.DataSetReady)]
    [InlineData((byte)UartModemControl.RequestToSend, (byte)UartModemStatus.ClearToSend)]
    [InlineData((byte)UartModemControl.Out1, (byte)UartModemStatus.Ring)]
    [InlineData((byte)UartModemControl.Out2, (byte)UartModemStatus.Carrier)]
    public void Loopback_connects_the_modem_outputs_to_the_modem_inputs(byte output, byte expected)
    {
        UartModemStatus input = (UartModemStatus)expected;
        Write(UartRegister.ModemControl, (byte)UartModemControl.Loopback);
        Read(UartRegister.ModemStatus);
        Write(UartRegister.ModemControl, (byte)((byte)UartModemControl.Loopback | output));
        UartModemStatus status = (UartModemStatus)Read(UartRegister.ModemStatus);
        Assert.Equal(input, status & UartModemStatus.Lines);
        // Of the ring only its end is reported.
        Assert.Equal(input == UartModemStatus.Ring ? 0 : (int)input >> 4, (int)(status & UartModemStatus.Changes));
        Write(UartRegister.ModemControl, (byte)UartModemControl.Loopback);
        status = (UartModemStatus)Read(UartRegister.ModemStatus);
        Assert.Equal((int)input >> 4, (int)status);
        Assert.Equal(0, Read(UartRegister.ModemStatus));
    }

    [Fact]
    public void Host_input_waits_while_the_chip_is_in_loopback()
    {
        Write(UartRegister.ModemControl, (byte)UartModemControl.Loopback);
        Give("x");
        Assert.Equal(0x60, Read(UartRegister.LineStatus));
        Write(UartRegister.ModemControl, (byte)UartModemControl.RequestToSend);
        Assert.Equal((byte)'x', Read(UartRegister.Data));
    }

    [Theory]
    [InlineData(UartRegister.ModemControl, (byte)UartModemControl.DataTerminalReady)]
    [InlineData(UartRegister.ModemControl, (byte)UartModemControl.RequestToSend)]
    [InlineData(UartRegister.InterruptEnable, (byte)UartInterrupts.ReceivedData)]
    public void Host_input_waits_until_the_guest_listens(int register, byte value)
    {
        Write(UartRegister.ModemControl, 0);
        Give("x");
        Write(UartRegister.FifoControl, (byte)(UartFifoControl.Enable | UartFifoControl.ClearReceive));
        Assert.Equal(0x60, Read(UartRegister.LineStatus));
        Write(register, value);
        Assert.Equal(0x61, Read(UartRegister.LineStatus));
        Assert.Equal((byte)'x', Read(UartRegister.Data));
    }

    [Fact]
    public void An_overrun_of_the_single_register_keeps_the_newer_byte()
    {
        Write(UartRegister.ModemControl, (byte)UartModemControl.Loopback);
        Write(UartRegister.Data, 1);
        Write(UartRegister.Data, 2);
        Assert.Equal(0x63, Read(UartRegister.LineStatus));
        Assert.Equal(0x61, Read(UartRegister.LineStatus));
        Assert.Equal(2, Read(UartRegister.Data));
    }

    [Fact]
    public void An_overrun_of_the_fifo_keeps_the_older_bytes()
    {
        Write(UartRegister.FifoControl, (byte)UartFifoControl.Enable);
        Write(UartRegister.ModemControl, (byte)UartModemControl.Loopback);
        for (byte i = 0; i <= Uart16550.FifoSize; i++) Write(UartRegister.Data, i);
        Assert.Equal(0x63, Read(UartRegister.LineStatus));
        for (byte i = 0; i < Uart16550.FifoSize; i++) Assert.Equal(i, Read(UartRegister.Data));
        Assert.Equal(0x60, Read(UartRegister.LineStatus));
    }

    [Fact]
    public void A_break_is_reported_with_its_byte_and_flagged_while_it_is_in_the_fifo()
    {
        Write(UartRegister.FifoControl, (byte)UartFifoControl.Enable);
        Write(UartRegister.InterruptEnable, (byte)UartInterrupts.LineStatus);
        Give("a");
        _uart.SendBreak();
        Assert.Equal(0xe1, Read(UartRegister.LineStatus));
        Assert.Equal(0xc1, Read(UartRegister.InterruptId));
        Read(UartRegister.Data);
        Assert.Equal(0xc0 | UartInterruptId.LineStatus, Read(UartRegister.InterruptId));
        Assert.Equal(0xf1, Read(UartRegister.LineStatus));
        Assert.Equal(0x61, Read(UartRegister.LineStatus));
        Assert.Equal(0, Read(UartRegister.Data));
    }

    [Fact]
    public void A_break_that_the_guest_sets_comes_back_in_loopback()
    {
        Write(UartRegister.ModemControl, (byte)UartModemControl.Loopback);
        Write(UartRegister.LineControl, (byte)UartLineControl.SetBreak);
        Assert.Equal((byte)(UartLineStatus.Break | UartLineStatus.Framing | UartLineStatus.DataReady) | 0x60, Read(UartRegister.LineStatus));
    }

    [Theory]
    [InlineData(false, 1)]
    [InlineData(true, Uart16550.FifoSize)]
    [Trait("Source", "a guest that prints what is not taken")]
    [Trait("Outcome", "the transmitter has no room")]
    public void A_host_that_takes_nothing_leaves_the_transmitter_without_room(bool fifos, int depth)
    {
        if (fifos) Write(UartRegister.FifoControl, (byte)UartFifoControl.Enable);
        for (int i = 0; i < Uart16550.OutputBacklogMax; i++) Write(UartRegister.Data, (byte)i);
        Assert.Equal(0x60, Read(UartRegister.LineStatus));
        for (int i = 0; i < depth; i++) Write(UartRegister.Data, 1);
        Assert.Equal(0x00, Read(UartRegister.LineStatus));
        Assert.Equal(0, _uart.LostBytes);
        Write(UartRegister.Data, 2);
        Assert.Equal(1, _uart.LostBytes);

        Write(UartRegister.InterruptEnable, (byte)UartInterrupts.TransmitterEmpty);
        Assert.False(_line.IsUp);
        _uart.SkipOutput(depth);
        Assert.True(_line.IsUp);
        Assert.Equal(0x60, Read(UartRegister.LineStatus));
        Assert.Equal(Uart16550.OutputBacklogMax, _uart.OutputBacklog);
    }

    [Fact]
    public void Clearing_the_transmit_fifo_drops_what_waits_in_the_chip()
    {
        Write(UartRegister.FifoControl, (byte)UartFifoControl.Enable);
        for (int i = 0; i < Uart16550.OutputBacklogMax + 3; i++) Write(UartRegister.Data, (byte)i);
        Write(UartRegister.FifoControl, (byte)(UartFifoControl.Enable | UartFifoControl.ClearTransmit));
        Assert.Equal(0x60, Read(UartRegister.LineStatus));
        Assert.Equal(Uart16550.OutputBacklogMax, _uart.OutputBacklog);
    }

    [Fact]
    [Trait("Source", "CVE-2020-27174 (Firecracker: serial input kept without bound)")]
    [Trait("Outcome", "the host is held; 4 KiB wait")]
    public void Input_that_the_guest_does_not_read_is_bounded()
    {
        int told = 0;
        _uart.Connect(() => { }, () => told++);
        byte[] flood = new byte[Uart16550.InputBacklogMax * 2];
        Assert.True(_uart.TryGiveInput(flood, out int taken));
        Assert.Equal(Uart16550.InputBacklogMax, taken);
        // The chip took one byte of them.
        Assert.False(_uart.TryGiveInput(flood, out taken));
        Assert.Equal(1, taken);
        for (int i = 0; i < Uart16550.InputBacklogMax / 2; i++) Read(UartRegister.Data);
        Assert.Equal(1, told);
        Assert.Equal(Uart16550.InputBacklogMax / 2, _uart.InputRoom);
    }

    [Fact]
    public void The_carrier_goes_when_the_host_hung_up_and_its_input_is_in_the_chip()
    {
        Write(UartRegister.InterruptEnable, (byte)UartInterrupts.ModemStatus);
        Give("ab");
        _uart.EndInput();
        Assert.False(_line.IsUp);
        Read(UartRegister.Data);
        Assert.True(_line.IsUp);
        Assert.Equal(UartInterruptId.ModemStatus, Read(UartRegister.InterruptId));
        Assert.Equal((byte)(UartModemStatus.CarrierChanged | UartModemStatus.ClearToSend | UartModemStatus.DataSetReady), Read(UartRegister.ModemStatus));
        Assert.Equal((byte)'b', Read(UartRegister.Data));
        Assert.False(_line.IsUp);
    }

    [Fact]
    public void A_wide_access_is_one_access_to_each_register_in_rising_order()
    {
        Uart16550 uart = new(_line);
        uart.Write(UartRegister.ModemControl, [0x03, 0xff, 0xff, 0x77]);
        byte[] data = new byte[8];
        uart.Read(0, data);
        Assert.Equal([0, 0, 1, 0, 3, 0x60, 0xb0, 0x77], data);
    }

    [Fact]
    public void With_a_stride_the_bytes_between_registers_are_zero()
    {
        Uart16550 uart = new(_line, registerStride: 4);
        Assert.Equal(32u, uart.RangeLength);
        uart.Write(UartRegister.Scratch * 4, [0x12, 0x34, 0x56, 0x78]);
        byte[] data = new byte[8];
        uart.Read(UartRegister.ModemStatus * 4, data);
        Assert.Equal([0xb0, 0, 0, 0, 0x12, 0, 0, 0], data);
    }

    private byte Read(int register)
    {
        byte[] data = new byte[1];
        _uart.Read((ulong)register, data);
        return data[0];
    }

    private void Write(int register, byte value) => _uart.Write((ulong)register, [value]);

    private void Give(string text)
    {
        Assert.True(_uart.TryGiveInput(Encoding.ASCII.GetBytes(text), out int taken));
        Assert.Equal(text.Length, taken);
    }

    private string TakeOutput()
    {
        byte[] bytes = new byte[64];
        int length = _uart.PeekOutput(bytes);
        _uart.SkipOutput(length);
        return Encoding.ASCII.GetString(bytes, 0, length);
    }
}
