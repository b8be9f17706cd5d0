namespace Vmm.Devices.Tests;

public sealed class BusTests
{
    private readonly Bus _bus = new("mmio");

    [Fact]
    public void An_access_reaches_the_device_of_its_range_with_the_offset_in_it()
    {
        Registers low = new();
        Registers high = new();
        _bus.Add(0x2000, 0x100, high);
        _bus.Add(0x1000, 0x1000, low);
        Assert.True(_bus.Write(0x1ffe, [1, 2]));
        Assert.True(_bus.Write(0x2000, [3]));
        Assert.Equal((0xffeul, 2), low.LastWrite);
        Assert.Equal((0ul, 1), high.LastWrite);
    }

    [Fact]
    public void A_read_with_no_device_gives_all_ones_and_is_counted()
    {
        byte[] data = [0, 0, 0, 0];
        Assert.False(_bus.Read(0x1000, data));
        Assert.Equal([0xff, 0xff, 0xff, 0xff], data);
        Assert.False(_bus.Write(0x1000, data));
        Assert.Equal(2, _bus.Misses);
    }

    [Theory]
    [InlineData(0xfff, 2)]
    [InlineData(0x10ff, 2)]
    [InlineData(0x10fd, 8)]
    [InlineData(ulong.MaxValue, 2)]
    public void An_access_that_crosses_the_end_of_a_range_reaches_no_device(ulong address, int length)
    {
        Registers device = new();
        _bus.Add(0x1000, 0x100, device);
        byte[] data = new byte[length];
        Assert.False(_bus.Read(address, data));
        Assert.All(data, value => Assert.Equal(0xff, value));
        Assert.False(_bus.Write(address, data));
        Assert.Equal(0, device.Accesses);
    }

    [Theory]
    [InlineData(0x1000, 0x100)]
    [InlineData(0xf01, 0x100)]
    [InlineData(0x10ff, 1)]
    [InlineData(0x1050, 8)]
    [InlineData(0, 0x10000)]
    public void A_range_that_overlaps_another_is_refused_with_a_sentence(ulong start, ulong length)
    {
        _bus.Add(0x1000, 0x100, new Registers());
        InvalidOperationException refused = Assert.Throws<InvalidOperationException>(() => _bus.Add(start, length, new Registers()));
        Assert.Contains("overlaps 0x1000-0x10ff of registers", refused.Message);
    }

    [Fact]
    public void Ranges_may_touch_and_reach_the_top_of_the_address_space()
    {
        _bus.Add(0x1000, 0x100, new Registers());
        _bus.Add(0x1100, 0x100, new Registers());
        _bus.Add(0xf00, 0x100, new Registers());
        _bus.Add(ulong.MaxValue - 7, 8, new Registers());
        Assert.True(_bus.Read(ulong.MaxValue, new byte[1]));
        Assert.Throws<ArgumentException>(() => _bus.Add(ulong.MaxValue, 2, new Registers()));
        Assert.Throws<ArgumentException>(() => _bus.Add(0, 0, new Registers()));
    }

    [Fact]
    public void A_removed_range_is_free_for_another_device()
    {
        _bus.Add(0x1000, 0x100, new Registers());
        Assert.False(_bus.Remove(0x1001));
        Assert.True(_bus.Remove(0x1000));
        Assert.False(_bus.Read(0x1000, new byte[1]));
        _bus.Add(0x1080, 0x10, new Registers());
        Assert.True(_bus.Read(0x1080, new byte[1]));
    }

    [Fact]
    public void Lookups_go_on_while_other_threads_map_and_unmap()
    {
        const int Changes = 2000;
        Registers steady = new();
        _bus.Add(0x1000, 0x100, steady);
        Thread changer = new(() =>
        {
            for (int i = 0; i < Changes; i++)
            {
                _bus.Add(0x800, 0x100, new Registers());
                _bus.Add(0x2000, 0x100, new Registers());
                _bus.Remove(0x800);
                _bus.Remove(0x2000);
            }
        });
        changer.Start();
        byte[] data = new byte[4];
        do
        {
            Assert.True(_bus.Read(0x10fc, data));
        }
        while (changer.IsAlive);
        Assert.Equal(0, _bus.Misses);
    }

    private sealed class Registers : IBusDevice
    {
        internal int Accesses { get; private set; }
        internal (ulong Offset, int Length) LastWrite { get; private set; }

        public void Read(ulong offset, Span<byte> data)
        {
            Accesses++;
            data.Clear();
        }

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
            Accesses++;
            LastWrite = (offset, data.Length);
        }

        public override string ToString() => "registers";
    }
}
