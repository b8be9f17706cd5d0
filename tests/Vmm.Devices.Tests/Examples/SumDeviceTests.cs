using System.Text.Json.Nodes;
using Vmm.Devices.Simulation;
using Vmm.Examples;
using Vmm.Tests.House;

namespace Vmm.Devices.Tests;

/// <summary>The device of docs/examples/SavedDevice, which docs/saved-state.md shows.</summary>
public sealed class SumDeviceTests
{
    public static TheoryData<string, ulong> Ordeals => new(DeviceBattery.Cases);

    [Theory, MemberData(nameof(Ordeals))]
    public void It_survives_every_ordeal_on_every_ring(string check, ulong ring) =>
        new DeviceBattery(() => new SumDevice("sum0"), new BatteryRequest(0, [1, 2, 3], 8)
        {
            Complaint = (answer, used) => used == 8 && BitConverter.ToInt64(answer) % 6 == 0 ? null : $"{used} bytes, {Convert.ToHexString(answer)}",
        }).Run(check, ring);

    [Fact]
    public void Another_process_goes_on_with_the_sum()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new SumDevice("sum0"));
        Assert.Equal(6, Sum(guest, 1, 2, 3));
        guest.GoOnIn(() => new SumDevice("sum0"));
        Assert.Equal(16, Sum(guest, 10));
        byte[] old = SavedState.Changed(guest.Pause().Save(), root => root["device"] = new JsonObject { ["version"] = 1, ["total"] = 100 });
        guest.Replace(() => new SumDevice("sum0"), old);
        Assert.Equal(101, Sum(guest.Resume(), 1));
    }

    [Fact]
    public void The_page_shows_the_device_as_it_is() =>
        Assert.Contains(File.ReadAllText(RepositoryTree.PathOf("docs", "examples", "SavedDevice", "SumDevice.cs")).TrimEnd(),
            File.ReadAllText(RepositoryTree.PathOf("docs", "saved-state.md")), StringComparison.Ordinal);

    private static long Sum(SimulatedGuest guest, params byte[] bytes)
    {
        DriverRequest request = guest.Queue(0).Add([bytes], [8]);
        guest.Kick(0).RunUntil(() => request.IsUsed);
        return BitConverter.ToInt64(request.Written);
    }
}
