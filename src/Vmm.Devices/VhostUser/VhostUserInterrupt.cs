using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>
/// Interrupts to the driver, through the front-end: calls go straight to the ring's eventfd, the rest to the session's thread,
/// coalesced.
/// </summary>
internal sealed class VhostUserInterrupt : IVirtioInterrupt
{
    private readonly IReadOnlyList<Vring> _rings;
    private readonly Doorbell _configChanged;
    private readonly Doorbell _needsReset;

    internal VhostUserInterrupt(IReadOnlyList<Vring> rings, RemoteEndpoint session, Action onConfigChanged, Action onNeedsReset)
    {
        _rings = rings;
        _configChanged = session.CreateDoorbell(_ => onConfigChanged());
        _needsReset = session.CreateDoorbell(_ => onNeedsReset());
    }

    public void SignalQueue(int queueIndex) => _rings[queueIndex].Call?.Signal();

    public void SignalConfig() => _configChanged.TryRing();

    public void SignalNeedsReset() => _needsReset.TryRing();
}
