using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>A ring a front-end handed over: the driver's side and its two eventfds.</summary>
internal sealed class VhostUserRing : IDisposable
{
    internal VhostUserRing(int index, DriverQueue queue)
    {
        Index = index;
        Queue = queue;
    }

    /// <summary>Its number in the device.</summary>
    internal int Index { get; }

    /// <summary>The driver's side. Stays its maker's.</summary>
    internal DriverQueue Queue { get; }

    /// <summary>What the driver rings when it published chains.</summary>
    internal EventFd Kick { get; } = new();

    /// <summary>What the device rings when it used chains.</summary>
    internal EventFd Call { get; } = new();

    /// <summary>Publishes added chains, and kicks if the device wants it.</summary>
    internal void PublishAndKick()
    {
        if (Queue.Publish()) Kick.Signal();
    }

    public void Dispose()
    {
        Kick.Dispose();
        Call.Dispose();
    }
}
