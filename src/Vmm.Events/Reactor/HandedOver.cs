namespace Vmm.Events;

/// <summary>The sources of a subscriber between one reactor and another.</summary>
internal sealed record HandedOver(Subscription[] Sources, bool[] IsDisarmed, bool[] IsDueAgain)
{
    /// <summary>
    /// Stops watching the sources of a subscriber, for another reactor to go on. Their descriptors stay open and the kernel keeps what
    /// happens on them meanwhile: an add reports what is ready at once.
    /// </summary>
    internal static HandedOver From(Reactor reactor, Subscriber subscriber)
    {
        reactor.CheckUsable();
        Subscription[] sources = [.. subscriber.Subscriptions];
        if (Array.Find(sources, source => source.Registrar != reactor) is { } stranger)
            throw new InvalidOperationException($"{stranger.Name} is not registered in reactor '{reactor.Name}'");
        HandedOver parcel = new(sources, [.. sources.Select(reactor.IsDisarmed)], [.. sources.Select(source => source.IsDueAgain)]);
        foreach (Subscription source in sources) reactor.Detach(source);
        return parcel;
    }

    /// <summary>Has a reactor watch what another gave away: all of it, or none and the reason.</summary>
    internal void Into(Reactor reactor)
    {
        reactor.CheckUsable();
        int taken = 0;
        try
        {
            for (; taken < Sources.Length; taken++)
            {
                Subscription source = Sources[taken];
                reactor.Add(source);
                if (IsDisarmed[taken]) reactor.LeaveDisarmed(source);
                if (IsDueAgain[taken]) reactor.DispatchAgain(source);
            }
        }
        catch
        {
            while (taken-- > 0) reactor.Detach(Sources[taken]);
            throw;
        }
    }

    /// <summary>No reactor is left to take them: they end, and their subscriber with them.</summary>
    internal void Close()
    {
        foreach (Subscription source in Sources) source.Handle.Dispose();
        if (Sources.Length > 0) Sources[0].Owner?.Dispose();
    }
}
