using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// Notices that a descriptor became readable, and remembers it until its reader has found it empty. While the reader does not read, the
/// first event too many silences it: a flood that is not read causes no wake-ups. On one reactor's thread.
/// </summary>
internal sealed class ReadableWatch : IDisposable
{
    private static readonly Interest Armed = Interest.Kick;
    private static readonly Interest Silent = Interest.None.EdgeTriggered;

    private readonly IReactor _reactor;
    private readonly Subscription<OwnedFd> _readable;
    private readonly Action _onReady;
    private bool _isSilent;

    /// <param name="fd">Watched by a duplicate.</param>
    /// <param name="reactor">Call on its thread.</param>
    /// <param name="onReady">Called when <see cref="IsReady"/> has become true.</param>
    internal ReadableWatch(OwnedFd fd, IReactor reactor, Action onReady)
    {
        _reactor = reactor;
        _onReady = onReady;
        _readable = Armed.WithFd(fd.Duplicate()).WithHandler(_ => BecameReadable());
        reactor.Add(_readable);
    }

    /// <summary>Whether there may be something to read: from an event until <see cref="FoundEmpty"/>.</summary>
    internal bool IsReady { get; private set; }

    /// <summary>A read found nothing more.</summary>
    internal void FoundEmpty()
    {
        IsReady = false;
        if (!_isSilent) return;
        _isSilent = false;
        // Also reports what came since that read.
        _reactor.Modify(_readable, Armed);
    }

    public void Dispose() => _reactor.Remove(_readable);

    private void BecameReadable()
    {
        if (!IsReady)
        {
            IsReady = true;
            _onReady();
        }
        else if (!_isSilent)
        {
            _isSilent = true;
            _reactor.Modify(_readable, Silent);
        }
    }
}
