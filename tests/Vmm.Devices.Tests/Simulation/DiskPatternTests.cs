using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

public sealed class DiskPatternTests
{
    [Fact]
    public void A_sector_is_the_same_whatever_it_is_filled_with()
    {
        byte[] together = new byte[4 * 512];
        byte[] alone = new byte[512];
        DiskPattern.Fill(9, 100, together);
        DiskPattern.Fill(9, 102, alone);
        Assert.Equal(together[(2 * 512)..(3 * 512)], alone);
    }

    [Fact]
    public void Seeds_and_sectors_make_a_difference()
    {
        byte[] sectors = new byte[2 * 512];
        byte[] other = new byte[512];
        DiskPattern.Fill(1, 0, sectors);
        DiskPattern.Fill(2, 0, other);
        Assert.NotEqual(sectors[..512], other);
        Assert.NotEqual(sectors[..512], sectors[512..]);
    }

    [Fact]
    public void A_match_tells_how_far_the_content_is_right()
    {
        byte[] sectors = new byte[2 * 512];
        DiskPattern.Fill(3, 50, sectors);
        Assert.Equal(1024, DiskPattern.Match(3, 50, sectors));
        sectors[700] ^= 0x80;
        Assert.Equal(696, DiskPattern.Match(3, 50, sectors));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(16)]
    [InlineData(1000)]
    [InlineData(1025)]
    [InlineData(4096)]
    public void A_random_order_names_each_number_once(int count)
    {
        foreach (ulong seed in (ulong[])[0, 1, 42, ulong.MaxValue])
        {
            RandomOrder order = new((ulong)count, seed);
            ulong[] numbers = [.. Enumerable.Range(0, count).Select(position => order[(ulong)position])];
            Assert.Equal(Enumerable.Range(0, count).Select(number => (ulong)number), numbers.Order());
            if (count >= 16) Assert.NotEqual(numbers.Order(), numbers);
        }
    }
}
