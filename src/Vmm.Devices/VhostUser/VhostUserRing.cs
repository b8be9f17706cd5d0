using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>A ring a front-end handed over: the driver's side and its two eventfds.</summary>
public sealed class VhostUserRing : IDisposable
{
    internal VhostUserRing(int index, DriverQueue queue)
    {
        Index = index;
        Queue = queue;
    }

    /// <summary>Its number in the device.</summary>
    public int Index { get; }

    /// <summary>The driver's side. Stays its maker's.</summary>
    public DriverQueue Queue { get; }

    /// <summary>What the driver rings when it published chains.</summary>
    public EventFd Kick { get; } = new();

    /// <summary>What the device rings when it used chains.</summary>
    public EventFd Call { get; } = new();

    /// <summary>Publishes added chains, and kicks if the device wants it.</summary>
    public void PublishAndKick()
    {
        if (Queue.Publish()) Kick.Signal();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Kick.Dispose();
        Call.Dispose();
    }
}
