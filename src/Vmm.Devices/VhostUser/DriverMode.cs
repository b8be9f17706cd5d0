namespace Vmm.Devices.VhostUser;

/// <summary>
/// The mode that a driver set in the configuration space and relies on, such as "write through" of a disk. QEMU answers its guest's reads
/// from a copy that it made when it first connected, and repeats no write to a server that comes back: so the mode is noted in the
/// in-flight region, which the front-end keeps for the next back-end. Where neither that nor the front-end says what its
/// driver knows, the device takes the mode that is safe in any case.
/// </summary>
internal sealed class DriverMode(ConfigSpace config, InflightKeeper inflight, FrontEndFeatures features)
{
    /// <summary>The front-end read the mode when it connected, or set it: what its driver knows is what is here.</summary>
    private bool _isKnownToFrontEnd;
    private bool _wasWritten;

    /// <summary>After that, QEMU reads the configuration for the disk's new size, and keeps its own copy of the mode.</summary>
    private bool _changeWasAnnounced;

    internal void ChangeWasAnnounced() => _changeWasAnnounced = true;

    internal void WasRead(int offset, int length)
    {
        if (_changeWasAnnounced || !config.CoversMode(offset, length)) return;
        _isKnownToFrontEnd = true;
        Settle(true);
    }

    internal void WasWritten(int offset, int length)
    {
        if (!config.CoversMode(offset, length)) return;
        _isKnownToFrontEnd = _wasWritten = true;
        Settle(true);
    }

    /// <summary>In-flight logs were handed in: those of a driver that was served before carry its mode, others take ours.</summary>
    internal void TakeOver()
    {
        if (!config.HasMode) return;
        byte? noted = inflight.IsFresh || _wasWritten ? null : inflight.Region!.Mode;
        if (noted is { } mode) config.SetMode(mode);
        Settle(noted is not null || config.IsModeKnown);
    }

    /// <summary>
    /// A driver comes with its first ring. One that is in the middle of a ring no one noted has run elsewhere, on another host perhaps.
    /// </summary>
    internal void SettleWith(Vring first)
    {
        bool isFromElsewhere = first.AvailBase != (features.IsPacked ? PackedPosition.StartBits : 0)
            && (inflight.Region?.Mode is null || inflight.IsFresh);
        if (isFromElsewhere) Settle(_wasWritten);
        else if (_isKnownToFrontEnd) Settle(true);
    }

    private void Settle(bool isKnown)
    {
        config.IsModeKnown = isKnown;
        inflight.Region?.NoteMode(isKnown ? config.Mode : null);
    }
}
