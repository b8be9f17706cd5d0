namespace Vmm.Events;

public sealed partial class Reactor
{
    /// <summary>
    /// Stops watching the sources of a subscriber, for another reactor to go on. Their descriptors stay open and the kernel keeps what
    /// happens on them meanwhile: an add reports what is ready at once.
    /// </summary>
    internal HandedOver GiveAway(Subscriber subscriber)
    {
        CheckUsable();
        Subscription[] sources = [.. subscriber.Subscriptions];
        if (Array.Find(sources, source => source.Registrar != this) is { } stranger)
            throw new InvalidOperationException($"{stranger.Name} is not registered in reactor '{Name}'");
        HandedOver parcel = new(sources, [.. sources.Select(source => _slots[source.SlotIndex].Bits == DisarmedBit)],
            [.. sources.Select(source => source.IsDueAgain)]);
        foreach (Subscription source in sources) Detach(source);
        return parcel;
    }

    /// <summary>Watches what another reactor gave away: all of it, or none and the reason.</summary>
    internal void TakeIn(HandedOver parcel)
    {
        CheckUsable();
        int taken = 0;
        try
        {
            for (; taken < parcel.Sources.Length; taken++)
            {
                Subscription source = parcel.Sources[taken];
                Add(source);
                if (parcel.IsDisarmed[taken]) LeaveDisarmed(source);
                if (parcel.IsDueAgain[taken]) DispatchAgain(source);
            }
        }
        catch
        {
            while (taken-- > 0) Detach(parcel.Sources[taken]);
            throw;
        }
    }

    /// <summary>A one-shot source that had fired stays silent until it is modified, wherever it goes.</summary>
    private void LeaveDisarmed(Subscription source)
    {
        ref Slot slot = ref _slots[source.SlotIndex];
        _ = _poller.Remove(slot.Fd, ThinPointer.To(ref slot));
        slot.Bits = DisarmedBit;
    }

    /// <summary>Leaves it unowned: the next thread that uses or runs it owns it.</summary>
    internal void GiveUpOwnership() => Volatile.Write(ref _owner, null);
}
