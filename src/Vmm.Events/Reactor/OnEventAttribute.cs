namespace Vmm.Events;

/// <summary>
/// Marks a method of a partial class as the handler of events. It may take any of its own descriptor (typed), the <see cref="Readiness"/>,
/// the <see cref="Interest"/> and the <see cref="IReactor"/>, in any order; another parameter is a compile error there. For a handler
/// <c>Kicked</c> the compiler adds <c>SubscribeKicked(fd, interest)</c>, which makes its subscription: an event is one virtual call to it,
/// and it calls the method. In a <see cref="Subscriber"/> the subscription belongs to that subscriber.
/// </summary>
/// <example><code>
/// public sealed partial class Relay(EventFd call) {
///     [OnEvent]
///     internal void Kicked(EventFd kick, IReactor reactor) => call.Signal();
///
///     public void Start(IReactor reactor, EventFd kick) => SubscribeKicked(kick, Interest.Kick).RegisterInto(reactor);
/// }
/// </code></example>
[AttributeUsage(AttributeTargets.Method, Inherited = false)]
public sealed class OnEventAttribute : Attribute;
