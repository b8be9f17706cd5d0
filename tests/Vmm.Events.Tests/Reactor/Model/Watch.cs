namespace Vmm.Events.Tests.Model;

/// <summary>The model of one registration: what epoll(7) promises of an eventfd, in four flavours.</summary>
internal sealed class Watch(EventFd fd, Subscription<EventFd> subscription, Subscriber? owner)
{
    private Flavour _flavour;
    private ulong _count;
    private bool _edge;
    private bool _armed;

    internal EventFd Fd => fd;

    internal Subscription<EventFd> Subscription => subscription;

    internal Subscriber? Owner => owner;

    internal bool IsGone { get; set; }

    internal bool IsRaised => _count > 0;

    /// <summary>The last wait may report an edge that was drained since: a ring does not look at the descriptor again.</summary>
    internal bool MayHearDrainedEdge { get; private set; }

    internal static Interest InterestOf(Flavour flavour) => flavour switch
    {
        Flavour.Level => Interest.Readable,
        Flavour.Edge => Interest.Kick,
        Flavour.OneShot => Interest.Readable.OneShot,
        _ => Interest.None,
    };

    /// <summary>An add or a modify looks at the descriptor at once.</summary>
    internal void Arm(Flavour flavour)
    {
        _flavour = flavour;
        _armed = true;
        _edge = _count > 0;
    }

    internal void Fire()
    {
        _count++;
        _edge = true;
    }

    internal void Drain() => _count = 0;

    /// <summary>Whether a wait reports it now; what the wait uses up is used up.</summary>
    internal bool Wait()
    {
        bool isDue = _count > 0 && _flavour switch
        {
            Flavour.Level => true,
            Flavour.Edge => _edge,
            Flavour.OneShot => _armed,
            _ => false,
        };
        MayHearDrainedEdge = _count == 0 && _edge && _flavour == Flavour.Edge;
        _edge = false;
        if (isDue) _armed = false;
        return isDue;
    }
}
