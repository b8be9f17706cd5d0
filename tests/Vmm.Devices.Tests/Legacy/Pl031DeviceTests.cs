using System.Buffers.Binary;

namespace Vmm.Devices.Tests;

public sealed class Pl031DeviceTests : IDisposable
{
    private const uint Start = 1_900_000_000;

    private readonly CountingClock _clock = new(DateTimeOffset.FromUnixTimeSeconds(Start).AddMilliseconds(250));
    private readonly SeenLine _line = new();
    private readonly Pl031Device _device;

    public Pl031DeviceTests() => _device = new Pl031Device(_line, _clock);

    [Fact]
    public void The_counter_is_the_hosts_time_and_may_be_set()
    {
        Assert.Equal(Start, Read(0x00));
        _clock.Advance(TimeSpan.FromSeconds(5));
        Assert.Equal(Start + 5, Read(0x00));
        Write(0x08, 1000);
        Assert.Equal(1000u, Read(0x00));
        Assert.Equal(1000u, Read(0x08));
        _clock.Advance(TimeSpan.FromSeconds(7));
        Assert.Equal(1007u, Read(0x00));
    }

    [Fact]
    public void The_match_interrupts_when_the_counter_gets_there_and_not_before()
    {
        Write(0x10, 1);
        Write(0x04, Start + 10);
        _clock.Advance(TimeSpan.FromMilliseconds(9_700));
        Assert.False(_line.IsUp);
        _clock.Advance(TimeSpan.FromMilliseconds(100));
        Assert.True(_line.IsUp);
        Assert.Equal((1u, 1u), (Read(0x14), Read(0x18)));
        Write(0x1c, 1);
        Assert.False(_line.IsUp);
        Assert.Equal(0u, Read(0x14));
        _clock.Advance(TimeSpan.FromDays(1));
        Assert.False(_line.IsUp);
    }

    [Fact]
    public void A_timer_that_comes_after_the_end_touches_no_line()
    {
        LateClock clock = new();
        Pl031Device device = new(_line, clock);
        device.Write(0x10, [1, 0, 0, 0]);
        device.Write(0x04, [0xff, 0xff, 0xff, 0x7f]);
        device.Dispose();
        clock.FireLate();
        Assert.False(_line.IsUp);
    }

    [Fact]
    public void A_masked_match_is_seen_but_does_not_interrupt()
    {
        Write(0x04, Start + 1);
        _clock.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal((1u, 0u), (Read(0x14), Read(0x18)));
        Assert.False(_line.IsUp);
        Write(0x10, 1);
        Assert.True(_line.IsUp);
    }

    [Fact]
    public void A_match_beyond_a_timers_reach_comes_all_the_same()
    {
        const uint Days = 100;
        Write(0x10, 1);
        Write(0x04, Start + Days * 86_400);
        _clock.Advance(TimeSpan.FromDays(Days) - TimeSpan.FromSeconds(1));
        Assert.False(_line.IsUp);
        _clock.Advance(TimeSpan.FromSeconds(1));
        Assert.True(_line.IsUp);
    }

    [Fact]
    public void Setting_the_counter_moves_the_match()
    {
        Write(0x10, 1);
        Write(0x04, 500);
        Write(0x08, 490);
        _clock.Advance(TimeSpan.FromSeconds(9));
        Assert.False(_line.IsUp);
        _clock.Advance(TimeSpan.FromSeconds(1));
        Assert.True(_line.IsUp);
    }

    [Fact]
    public void Drivers_find_a_PL031()
    {
        uint part = 0;
        uint cell = 0;
        for (int i = 0; i < 4; i++)
        {
            part |= Read(0xfe0 + (ulong)i * 4) << (8 * i);
            cell |= Read(0xff0 + (ulong)i * 4) << (8 * i);
        }
        Assert.Equal(0x00041031u, part & 0xfffff);
        Assert.Equal(0xb105f00du, cell);
        Assert.Equal(1u, Read(0x0c));
    }

    [Fact]
    public void Accesses_that_are_no_aligned_words_read_zero_and_change_nothing()
    {
        _device.Write(0x08, [1, 2]);
        _device.Write(0x06, [1, 2, 3, 4]);
        byte[] data = [9, 9];
        _device.Read(0x00, data);
        Assert.Equal([0, 0], data);
        Assert.Equal(Start, Read(0x00));
    }

    public void Dispose() => _device.Dispose();

    private uint Read(ulong offset)
    {
        byte[] data = new byte[4];
        _device.Read(offset, data);
        return BinaryPrimitives.ReadUInt32LittleEndian(data);
    }

    private void Write(ulong offset, uint value)
    {
        byte[] data = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(data, value);
        _device.Write(offset, data);
    }

    /// <summary>A clock whose timer was under way when it was disposed, and shows the time it was set to.</summary>
    private sealed class LateClock : TimeProvider
    {
        private Action _callback = () => { };

        public override DateTimeOffset GetUtcNow() => DateTimeOffset.FromUnixTimeSeconds(int.MaxValue);

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            _callback = () => callback(state);
            return new CountingClock(GetUtcNow()).CreateTimer(callback, state, dueTime, period);
        }

        internal void FireLate() => _callback();
    }
}
