using Vmm.Devices.VhostUser;

namespace Vmm.Devices.Tests.VhostUser;

public sealed class SharedRegionTests
{
    private const ulong Start = 0x7f00_0000_0000;

    [Theory]
    [InlineData(Start - 1, false)]
    [InlineData(Start, true)]
    [InlineData(Start + 8191, true)]
    [InlineData(Start + 8192, false)]
    [InlineData(0, false)]
    [InlineData(ulong.MaxValue, false)]
    public void A_region_contains_the_front_ends_addresses_of_its_bytes_and_no_other(ulong address, bool isInside)
    {
        using GuestRegion region = GuestRegion.Create(0x10000, 8192);
        Assert.Equal(isInside, new SharedRegion(region, Start).Contains(address));
    }

    [Theory]
    [InlineData(0, 0, false)]
    [InlineData(0x1000, ulong.MaxValue, true)]
    [InlineData(0x1000, ulong.MaxValue - 0xfff, false)]
    [InlineData(0x1001, ulong.MaxValue - 0xfff, true)]
    public void A_region_wraps_where_its_last_byte_lies_before_its_first(ulong length, ulong userAddress, bool wraps) =>
        Assert.Equal(wraps, new RegionDescription(0, length, 0, userAddress).WrapsInFrontEnd);
}
