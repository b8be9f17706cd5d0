using System.Globalization;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>A device on a kind of ring under a poller: a row of the theories that go over every device.</summary>
public sealed record HostileCase(string Device, ulong Ring, PollerKind Poller)
{
    private const ulong RingFeatures = VirtioFeatures.PackedRing | VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors;

    private static readonly ulong[] Rings =
    [
        0, VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors,
        VirtioFeatures.PackedRing, VirtioFeatures.PackedRing | VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors,
    ];

    /// <summary>How often a test does what a guest could do for ever: VMM_HOSTILE_REPEATS times, or as often as it takes to see anything.</summary>
    internal static int Repeats(int standard) =>
        int.TryParse(Environment.GetEnvironmentVariable("VMM_HOSTILE_REPEATS"), CultureInfo.InvariantCulture, out int given) ? given : standard;

    internal bool Packed => (Ring & VirtioFeatures.PackedRing) != 0;

    internal bool Indirect => (Ring & VirtioFeatures.IndirectDescriptors) != 0;

    /// <summary>Every device, on every kind of ring, under both pollers.</summary>
    public static TheoryData<HostileCase> All() => [.. DeviceBatteryTests.Devices.Keys.SelectMany(Rows)];

    /// <summary>One device, or none of the catalogue's where a test makes its own.</summary>
    public static TheoryData<HostileCase> Of(string device) => [.. Rows(device)];

    /// <summary>Devices that bring to the guest what the host has for it, when the host has it.</summary>
    public static TheoryData<HostileCase> OfReceivers() => [.. Receivers.SelectMany(Rows)];

    internal static IReadOnlyList<string> Receivers { get; } = ["console", "net", "vsock"];

    /// <summary>A guest with a vsock device and a driver that says what a test wants it to say.</summary>
    internal VsockGuest Vsock(int buffers = 32, VsockSpec? device = null) => new(Options, buffers, options: device);

    /// <summary>A guest with another device than the catalogue's.</summary>
    internal SimulatedGuest Guest(VirtioDevice device) => SimulatedGuest.For(device, Options);

    internal SimulatedGuestOptions Options => new() { Features = ~RingFeatures | Ring, MemoryBytes = HostileGuest.MemoryBytes, Poller = Poller };

    private static IEnumerable<HostileCase> Rows(string device) =>
        Rings.SelectMany(ring => Enum.GetValues<PollerKind>().Select(poller => new HostileCase(device, ring, poller)));

    public override string ToString() => $"{Device}, {DeviceBattery.Describe(Ring)}, {Poller}";
}

/// <summary>A guest with a device of the catalogue, which has to work again after whatever it was put through.</summary>
internal sealed class HostileGuest : IDisposable
{
    internal const ulong MemoryBytes = 64 << 20;

    /// <summary>A second region, behind a hole as long as itself.</summary>
    internal const ulong ExtraStart = MemoryBytes + ExtraBytes, ExtraBytes = 1 << 20;

    private readonly DeviceBattery _battery;
    private readonly HostileCase _case;
    private readonly Neighbour _neighbour;

    internal HostileGuest(HostileCase @case, bool start = true)
    {
        _case = @case;
        _battery = DeviceBatteryTests.Devices[@case.Device]();
        Guest = SimulatedGuest.For(_battery.Make(), @case.Options with { Start = start });
        Assert.True(Guest.Memory.TryAdd(GuestRegion.Create(ExtraStart, ExtraBytes), out _));
        _neighbour = new Neighbour(Guest);
    }

    internal SimulatedGuest Guest { get; }

    internal IReadOnlyList<BatteryRequest> Requests => _battery.Requests;

    internal bool NeedsReset => Guest.Driver.Status.HasFlag(DeviceStatus.NeedsReset);

    /// <summary>Another device of the kind under attack.</summary>
    internal VirtioDevice Make() => _battery.Make();

    /// <summary>Kicks for a request and has happen on the host what it waits for.</summary>
    internal void Serve(BatteryRequest request)
    {
        Guest.Kick(request.Queue).RunUntilIdle();
        request.Provoke?.Invoke(Guest.Device);
        Guest.RunUntilIdle();
    }

    /// <summary>The same driver's requests are answered, and its neighbour's.</summary>
    internal void AssertWorks() => Exercise("still");

    /// <summary>After a reset a new driver's requests are answered, and its neighbour's.</summary>
    internal void AssertWorksAfterReset(string what = "afterwards")
    {
        Guest.Reset().Start();
        Exercise(what);
    }

    public void Dispose()
    {
        _neighbour.Dispose();
        Guest.Dispose();
    }

    private void Exercise(string what)
    {
        _battery.Exercise(Guest, $"{_case}: {what}");
        _neighbour.Ask();
    }
}
