using Vmm.Events;

namespace Vmm.Devices.Simulation;

/// <summary>What kind of driver a <see cref="SimulatedGuest"/> plays.</summary>
public sealed record SimulatedGuestOptions
{
    /// <summary>Guest memory in bytes, a multiple of 4096.</summary>
    public ulong MemoryBytes { get; init; } = 16 << 20;

    /// <summary>The features the driver can use; it takes what of them is offered.</summary>
    public ulong Features { get; init; } = ulong.MaxValue;

    /// <summary>Most entries it gives a queue.</summary>
    public ushort QueueSizeMax { get; init; } = 256;

    /// <summary>Whether the driver brings the device up at once. Otherwise it waits for <see cref="SimulatedGuest.Start"/>.</summary>
    public bool Start { get; init; } = true;

    /// <summary>What the reactor waits with.</summary>
    public PollerKind Poller { get; init; } = PollerKind.Epoll;

    /// <summary>The clock of the device's timers. With a <see cref="ManualClock"/> the test owns their time.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary>
    /// How long <see cref="SimulatedGuest.RunUntil"/> waits while the reactor has nothing to do; of a busy one the bound is
    /// <see cref="SimulatedGuest.Patience"/>. Longer for a device that waits for slow storage or another process.
    /// </summary>
    public TimeSpan IdlePatience { get; init; } = StandardIdlePatience;

    /// <summary>Tests on a machine that does much else at the same time set more.</summary>
    internal static TimeSpan StandardIdlePatience { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>Changes the options of the reactor: a measurement that has its handlers watched. Null leaves them.</summary>
    internal Func<ReactorOptions, ReactorOptions>? Reactor { get; init; }

    /// <summary>A guest whose reactor has this one's device too. It is disposed later than this one. Null: a reactor of its own.</summary>
    internal SimulatedGuest? Beside { get; init; }

    /// <summary>How the transport behaves; null for its defaults.</summary>
    internal VirtioMmioOptions? Transport { get; init; }
}
