using Vmm.Devices.Native;

namespace Vmm.Devices.VhostUser;

/// <content>
/// The mode that a driver set in the configuration space and relies on, such as "write through" of a disk. QEMU answers its guest's reads
/// from a copy that it made when it first connected, and repeats no write to a server that comes back: so the mode is noted in the
/// in-flight region, which the front-end keeps for the next back-end. Where neither that nor the front-end says what its
/// driver knows, the device takes the mode that is safe in any case.
/// </content>
internal sealed partial class VhostUserSession
{
    /// <summary>The front-end read the mode when it connected, or set it: what its driver knows is what is here.</summary>
    private bool _frontEndKnowsMode;
    private bool _modeWasWritten;

    /// <summary>After that, QEMU reads the configuration for the disk's new size, and keeps its own copy of the mode.</summary>
    private bool _changeWasAnnounced;

    /// <summary>The in-flight region that was made last in this session: no driver was ever served with it.</summary>
    private MemoryFile? _freshInflight;

    private bool HasFreshInflight => _inflight is not null && _inflight.Source == _freshInflight;

    private void ConfigRead(int offset, int length)
    {
        if (_changeWasAnnounced || !_device.Config.CoversMode(offset, length)) return;
        _frontEndKnowsMode = true;
        SettleMode(true);
    }

    private void ModeWritten(int offset, int length)
    {
        if (!_device.Config.CoversMode(offset, length)) return;
        _frontEndKnowsMode = _modeWasWritten = true;
        SettleMode(true);
    }

    /// <summary>In-flight logs were handed in: those of a driver that was served before carry its mode, others take ours.</summary>
    private void TakeModeOver()
    {
        if (!_device.Config.HasMode) return;
        byte? noted = HasFreshInflight || _modeWasWritten ? null : _inflight!.Mode;
        if (noted is { } mode) _device.Config.SetMode(mode);
        SettleMode(noted is not null || _device.Config.IsModeKnown);
    }

    /// <summary>
    /// A driver comes with its first ring. One that is in the middle of a ring no one noted has run elsewhere, on another host perhaps.
    /// </summary>
    private void SettleModeOf(Vring first)
    {
        bool isFromElsewhere = first.AvailBase != (IsPacked ? PackedPosition.StartBits : 0)
            && (_inflight?.Mode is null || HasFreshInflight);
        if (isFromElsewhere) SettleMode(_modeWasWritten);
        else if (_frontEndKnowsMode) SettleMode(true);
    }

    private void SettleMode(bool isKnown)
    {
        _device.Config.IsModeKnown = isKnown;
        _inflight?.NoteMode(isKnown ? _device.Config.Mode : null);
    }
}
