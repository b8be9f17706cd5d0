namespace Vmm.Devices.Tests;

public sealed class ConfigSpaceTests
{
    [Fact]
    public void Bytes_outside_of_the_space_read_as_zero()
    {
        ConfigSpace space = new(2);
        space.Update(0, [1, 2]);
        byte[] data = [9, 9, 9, 9];
        space.Read(1, data);
        Assert.Equal([2, 0, 0, 0], data);
    }

    [Fact]
    public void A_driver_writes_only_what_it_may()
    {
        ConfigSpace space = new(4);
        space.AllowWrites(2, 1);
        Assert.True(space.Write(0, [1, 2, 3, 4]));
        byte[] data = new byte[4];
        space.Read(0, data);
        Assert.Equal([0, 0, 3, 0], data);
        Assert.False(space.Write(1000, [1]));
    }
}
