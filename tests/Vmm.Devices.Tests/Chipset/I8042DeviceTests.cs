namespace Vmm.Devices.Tests;

public sealed class I8042DeviceTests
{
    private const ulong Data = 0;
    private const ulong Command = 4;

    private readonly I8042Device _device;
    private int _resets;

    public I8042DeviceTests() => _device = new I8042Device(() => _resets++);

    [Fact]
    public void The_reset_pulse_resets_the_machine()
    {
        Write(Command, 0xfe);
        Assert.Equal(1, _resets);
    }

    [Fact]
    public void The_output_port_resets_when_its_lowest_bit_falls()
    {
        Write(Command, 0xd1);
        Write(Data, 0xdf);
        Assert.Equal(0, _resets);
        Write(Command, 0xd1);
        Write(Data, 0xfe);
        Assert.Equal(1, _resets);
    }

    [Theory]
    [InlineData(0xaa, 0x55)]
    [InlineData(0xab, 0x00)]
    [InlineData(0xa9, 0x00)]
    [InlineData(0x20, 0x10)]
    [InlineData(0xd0, 0x01)]
    public void A_command_with_an_answer_fills_the_output_until_it_is_read(byte command, byte answer)
    {
        Assert.Equal(0, Read(Command) & 1);
        Write(Command, command);
        Assert.Equal(1, Read(Command) & 1);
        Assert.Equal(answer, Read(Data));
        Assert.Equal(0, Read(Command) & 1);
    }

    [Fact]
    public void The_configuration_is_what_was_written_and_follows_the_first_ports_switch()
    {
        Write(Command, 0x60);
        Write(Data, 0x47);
        Write(Command, 0x20);
        Assert.Equal(0x47, Read(Data));
        Write(Command, 0xad);
        Write(Command, 0x20);
        Assert.Equal(0x57, Read(Data));
        Write(Command, 0xae);
        Write(Command, 0x20);
        Assert.Equal(0x47, Read(Data));
    }

    [Fact]
    public void Bytes_for_the_keyboard_are_acknowledged()
    {
        Write(Data, 0xed);
        Assert.Equal(0xfa, Read(Data));
    }

    [Fact]
    public void The_ports_between_data_and_command_are_not_its()
    {
        for (ulong offset = 1; offset < Command; offset++)
        {
            Write(offset, 0xfe);
            Assert.Equal(0, Read(offset));
        }
        Assert.Equal(0, _resets);
    }

    private byte Read(ulong offset)
    {
        byte[] data = new byte[1];
        _device.Read(offset, data);
        return data[0];
    }

    private void Write(ulong offset, byte value) => _device.Write(offset, [value]);
}
