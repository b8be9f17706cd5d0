using Vmm.Events;

namespace Vmm.Examples.Relay;

/// <summary>
/// Passes each kick on as a call, until the one who kicks hangs up. Its handlers name what they need and get nothing else.
/// </summary>
public sealed partial class KickRelay(EventFd call) : Subscriber("relay")
{
    [OnEvent]
    public void Kicked() => call.Signal();

    [OnEvent]
    public void HungUp(OwnedFd peer, Readiness ready, IReactor reactor)
    {
        if (ready.IsHangUp) RemoveFrom(reactor);
    }

    // The compiler wrote SubscribeKicked and SubscribeHungUp: an event is one virtual call, and one to the handler.
    public void Start(IReactor reactor, EventFd kick, OwnedFd peer)
    {
        SubscribeKicked(kick, Interest.Kick).RegisterInto(reactor);
        SubscribeHungUp(peer, Interest.ReadHangUp).RegisterInto(reactor);
    }
}
