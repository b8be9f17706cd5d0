using System.Runtime.CompilerServices;
using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests.Simulation;

/// <summary>What the guest for tests says to the author of a device that is wrong.</summary>
public sealed class SimulatedGuestTests
{
    private static readonly SimulatedGuestOptions Impatient = new() { IdlePatience = TimeSpan.FromMilliseconds(100) };

    /// <summary>These tests run many at a time, on disks that others use.</summary>
    [ModuleInitializer]
    internal static void BePatient() => SimulatedGuestOptions.StandardIdlePatience = SimulatedGuest.Patience;

    [Fact]
    public void A_chain_that_is_never_pushed_is_named_as_soon_as_nothing_is_left_to_do()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new EchoDevice(), Impatient);
        DriverRequest kept = guest.Queue(1).Add(writable: [16]);
        guest.Kick(1);
        guest.Queue(0).Add(writable: [16]);
        guest.Queue(0).Add(writable: [16]);
        string message = Assert.Throws<TimeoutException>(() => guest.RunUntil(() => kept.IsUsed)).Message;
        Assert.Contains("echo has had nothing to do for", message, StringComparison.Ordinal);
        Assert.Contains("queue 'keep': 1 popped, not pushed; 0 not popped", message, StringComparison.Ordinal);
        Assert.Contains("queue 'echo': 0 popped, not pushed; 2 not popped", message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_queue_that_is_not_there_is_answered_with_those_that_are()
    {
        using SimulatedGuest guest = SimulatedGuest.For(new EchoDevice());
        string message = Assert.Throws<ArgumentOutOfRangeException>(() => guest.Queue(9)).Message;
        Assert.Contains("echo has no queue 9: it has 0 'echo', 1 'keep'", message, StringComparison.Ordinal);
    }
}
