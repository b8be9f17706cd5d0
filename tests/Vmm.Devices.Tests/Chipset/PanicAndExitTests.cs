namespace Vmm.Devices.Tests;

public sealed class PanicAndExitTests
{
    [Fact]
    public void A_guest_reads_what_it_may_tell_and_tells_no_more()
    {
        List<PanicEvents> told = [];
        PvPanicDevice device = new(told.Add);
        byte[] data = new byte[1];
        device.Read(0, data);
        Assert.Equal(3, data[0]);
        device.Write(0, [0x01]);
        device.Write(0, [0xfc]);
        device.Write(0, [0x0a]);
        Assert.Equal([PanicEvents.Panicked, PanicEvents.CrashLoaded], told);
    }

    [Theory]
    [InlineData(new byte[] { 1 }, 1)]
    [InlineData(new byte[] { 1, 2 }, 0x0201)]
    [InlineData(new byte[] { 1, 2, 3, 4 }, 0x04030201)]
    [InlineData(new byte[] { 1, 2, 3, 4, 5, 6, 7, 8 }, 0x04030201)]
    public void What_is_written_to_the_exit_port_is_the_status(byte[] written, uint status)
    {
        uint told = 0;
        DebugExitDevice device = new(value => told = value);
        device.Write(0, written);
        Assert.Equal(status, told);
        byte[] data = [9];
        device.Read(0, data);
        Assert.Equal(0, data[0]);
    }
}
