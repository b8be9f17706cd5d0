using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>
/// The connection on which a back-end asks something of its front-end (VHOST_USER_SET_BACKEND_REQ_FD). Only "the configuration changed" is
/// ever said: it waits, as one bit, while the front-end does not read. No answer is asked for, and what comes is not read.
/// </summary>
internal sealed class BackendChannel : IDisposable
{
    private readonly MessageWriter _writer = new();
    private readonly Subscription<UnixSocket> _subscription;
    private readonly IReactor _reactor;
    private bool _changed;

    internal BackendChannel(UnixSocket socket, IReactor reactor, Subscriber owner)
    {
        _reactor = reactor;
        _subscription = Interest.Writable.AndReadHangUp.EdgeTriggered.WithFd(socket)
            .WithHandler((_, ready, _) => OnReady(ready)).OwnedBy(owner);
        _subscription.RegisterInto(reactor);
    }

    /// <summary>Says that the configuration space changed, now or when the front-end reads again.</summary>
    internal void SayConfigChanged()
    {
        _changed = true;
        Pump();
    }

    public void Dispose()
    {
        _reactor.Remove(_subscription);
        _writer.Dispose();
    }

    private void OnReady(Readiness ready)
    {
        if (ready.IsHangUp || ready.IsError || ready.IsReadHangUp) _reactor.Remove(_subscription);
        else Pump();
    }

    private void Pump()
    {
        if (!_subscription.IsRegistered) return;
        bool alive = _writer.Flush(_subscription.Fd);
        if (alive && _changed && !_writer.IsPending)
        {
            _changed = false;
            _writer.Begin(VhostUserHeader.ForRequest((uint)VhostUserBackendRequest.ConfigChanged, 0, needsReply: false));
            alive = _writer.Flush(_subscription.Fd);
        }
        if (!alive) _reactor.Remove(_subscription);
    }
}
