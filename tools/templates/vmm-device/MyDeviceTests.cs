using Vmm.Devices.Simulation;

namespace MyDevice;

public sealed class MyDeviceTests
{
    [Fact]
    public void It_gives_back_what_it_is_sent()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new MyDeviceDevice("mine"));
        DriverRequest request = guest.Queue(0).Add(readable: ["hello"u8.ToArray()], writable: [16]);
        guest.Kick(0).RunUntilIdle();
        Assert.Equal("hello"u8.ToArray(), request.Written);
        Assert.Equal(1, guest.Interrupts);
    }

    public static TheoryData<string, ulong> Ordeals => new(DeviceBattery.Cases);

    [Theory, MemberData(nameof(Ordeals))]
    public void It_survives_every_ordeal_on_every_ring(string check, ulong ring) =>
        new DeviceBattery(() => new MyDeviceDevice("mine"), new BatteryRequest(0, "hello"u8.ToArray(), 5)).Run(check, ring);
}
