namespace Vmm.Events;

/// <summary>A reactor as the parts of a subscriber see it: see <see cref="Subscriber.In"/>.</summary>
internal sealed class SubscriberReactor(Subscriber owner, IReactor inner) : IReactor
{
    internal IReactor Inner => inner;

    public void Add(Subscription subscription)
    {
        ArgumentNullException.ThrowIfNull(subscription);
        if (subscription is { Owner: null, IsRegistered: false }) subscription.Owner = owner;
        inner.Add(subscription);
    }

    public void Modify(Subscription subscription, Interest interest) => inner.Modify(subscription, interest);

    public bool Remove(Subscription subscription) => inner.Remove(subscription);

    public void DispatchAgain(Subscription subscription) => inner.DispatchAgain(subscription);
}
