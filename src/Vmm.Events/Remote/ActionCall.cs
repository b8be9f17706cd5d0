namespace Vmm.Events;

/// <summary>A posted action.</summary>
internal sealed class ActionCall(RemoteEndpoint endpoint, Action<IReactor> action) : RemoteCall
{
    protected internal override string Name => "a posted call";

    protected internal override void Run(IReactor reactor) => action(reactor);

    protected internal override void Abandon(ReactorStoppedException reason) => endpoint.ReportAbandoned(this, reason);
}
