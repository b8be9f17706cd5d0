using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

public sealed class CmosDeviceTests : IDisposable
{
    private readonly CountingClock _clock = new(new DateTimeOffset(2031, 12, 24, 23, 58, 59, TimeSpan.Zero));
    private readonly CountingLine _line = new();
    private readonly CmosDevice _device;

    public CmosDeviceTests() => _device = new CmosDevice(_clock, 3UL << 30, _line);

    public void Dispose() => _device.Dispose();

    [Fact]
    public void The_clock_shows_the_hosts_time_in_decimal_digits()
    {
        Assert.Equal([0x59, 0x58, 0x23, 0x04, 0x24, 0x12, 0x31, 0x20], ReadTime());
        _clock.Advance(TimeSpan.FromSeconds(62));
        Assert.Equal([0x01, 0x00, 0x00, 0x05, 0x25, 0x12, 0x31, 0x20], ReadTime());
    }

    [Fact]
    public void Status_B_chooses_binary_and_twelve_hours()
    {
        Write(0x0b, 0x06);
        Assert.Equal([59, 58, 23, 4, 24, 12, 31, 20], ReadTime());
        Write(0x0b, 0x00);
        Assert.Equal(0x91, Read(0x04));
        _clock.Advance(TimeSpan.FromHours(1));
        Assert.Equal(0x12, Read(0x04));
    }

    [Fact]
    public void The_guest_sets_the_clock_while_it_is_held_and_it_goes_on_from_there()
    {
        Write(0x0b, 0x82);
        foreach ((byte index, byte value) in (ReadOnlySpan<(byte, byte)>)[(0x00, 0x30), (0x02, 0x20), (0x04, 0x10), (0x07, 0x29), (0x08, 0x02), (0x09, 0x28), (0x32, 0x20)])
            Write(index, value);
        _clock.Advance(TimeSpan.FromSeconds(10));
        Write(0x0b, 0x02);
        _clock.Advance(TimeSpan.FromSeconds(31));
        Assert.Equal([0x01, 0x21, 0x10, 0x03, 0x29, 0x02, 0x28, 0x20], ReadTime());
    }

    [Fact]
    public void A_date_that_does_not_exist_changes_nothing()
    {
        Write(0x0b, 0x82);
        Write(0x08, 0x02);
        Write(0x07, 0x31);
        Write(0x0b, 0x02);
        Assert.Equal([0x59, 0x58, 0x23, 0x04, 0x24, 0x12, 0x31, 0x20], ReadTime());
    }

    [Fact]
    public void The_clock_says_that_it_works_and_interrupts_never()
    {
        Assert.Equal(0x26, Read(0x0a));
        Assert.Equal(0x80, Read(0x0d));
        Write(0x0c, 0xff);
        Write(0x0d, 0x00);
        Assert.Equal(0x00, Read(0x0c));
        Assert.Equal(0x80, Read(0x0d));
    }

    [Fact]
    public void Firmware_finds_the_memory_and_the_guest_keeps_bytes()
    {
        Assert.Equal(640, Read(0x15) | (Read(0x16) << 8));
        Assert.Equal(0xffff, Read(0x30) | (Read(0x31) << 8));
        Assert.Equal((3072 - 16) * 16, Read(0x34) | (Read(0x35) << 8));
        Write(0x40, 0xa5);
        Write(0xc0, 0x5a);
        Assert.Equal(0x5a, Read(0x40));
    }

    [Fact]
    public void A_wide_write_sets_index_and_data_at_once()
    {
        _device.Write(0, [0x41, 0x77]);
        byte[] data = new byte[2];
        _device.Read(0, data);
        Assert.Equal([0x41, 0x77], data);
    }

    [Fact]
    public void An_alarm_interrupts_at_its_time_once_and_is_taken_back_by_reading_it()
    {
        SetAlarm(0x00, 0x05, 0x10);
        Write(0x0b, 0x22);
        _clock.Advance(TimeSpan.FromSeconds(70));
        Assert.False(_line.IsUp);
        _clock.Advance(TimeSpan.FromSeconds(1));
        Assert.False(_line.IsUp);
        _clock.Advance(TimeSpan.FromMinutes(5));
        Assert.True(_line.IsUp);
        Assert.Equal(0xb0, Read(0x0c));
        Assert.False(_line.IsUp);
        Assert.Equal(0x00, Read(0x0c));
        _clock.Advance(TimeSpan.FromHours(23));
        Assert.False(_line.IsUp);
        _clock.Advance(TimeSpan.FromHours(1));
        Assert.True(_line.IsUp);
    }

    [Theory]
    [InlineData(0xff, 0xff, 0x10, 11)]
    [InlineData(0xff, 0xc0, 0xff, 1)]
    [InlineData(0x23, 0xff, 0x30, 31)]
    [InlineData(0x23, 0x58, 0xff, 23 * 3600 + 59 * 60 + 1)]
    [InlineData(0x00, 0x00, 0x00, 61)]
    public void Alarm_bytes_that_do_not_care_match_everything(byte hour, byte minute, byte second, int seconds)
    {
        SetAlarm(hour, minute, second);
        Write(0x0b, 0x22);
        _clock.Advance(TimeSpan.FromSeconds(seconds) - TimeSpan.FromMilliseconds(1));
        Assert.False(_line.IsUp);
        _clock.Advance(TimeSpan.FromMilliseconds(1));
        Assert.True(_line.IsUp);
    }

    [Fact]
    public void An_alarm_that_never_comes_is_no_trouble()
    {
        SetAlarm(0x99, 0x00, 0x00);
        Write(0x0b, 0x22);
        _clock.Advance(TimeSpan.FromDays(3));
        Assert.False(_line.IsUp);
    }

    [Fact]
    public void The_end_of_an_update_interrupts_every_second()
    {
        Write(0x0b, 0x12);
        for (int second = 0; second < 3; second++)
        {
            _clock.Advance(TimeSpan.FromSeconds(1));
            Assert.True(_line.IsUp);
            Assert.Equal(0x90, Read(0x0c) & 0x90);
            Assert.False(_line.IsUp);
        }
        Write(0x0b, 0x02);
        _clock.Advance(TimeSpan.FromSeconds(5));
        Assert.False(_line.IsUp);
        // Who polls sees it all the same.
        Assert.Equal(0x10, Read(0x0c) & 0x90);
    }

    [Fact]
    public void A_clock_that_was_set_to_the_end_of_time_goes_on()
    {
        Write(0x0b, 0x86);
        foreach ((byte index, byte value) in (ReadOnlySpan<(byte, byte)>)[(0x00, 59), (0x02, 59), (0x04, 23), (0x07, 31), (0x08, 12), (0x09, 99), (0x32, 99)]) Write(index, value);
        Write(0x0b, 0x36);
        _clock.Advance(TimeSpan.FromDays(2));
        Assert.Equal(31, ReadTime()[6]);
    }

    private void SetAlarm(byte hour, byte minute, byte second)
    {
        Write(0x05, hour);
        Write(0x03, minute);
        Write(0x01, second);
    }

    private byte[] ReadTime() => [.. ((byte[])[0x00, 0x02, 0x04, 0x06, 0x07, 0x08, 0x09, 0x32]).Select(Read)];

    private byte Read(byte index)
    {
        byte[] data = new byte[1];
        _device.Write(0, [index]);
        _device.Read(1, data);
        return data[0];
    }

    private void Write(byte index, byte value)
    {
        _device.Write(0, [index]);
        _device.Write(1, [value]);
    }
}
