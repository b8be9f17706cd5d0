using System.Runtime.ExceptionServices;

namespace Vmm.Events;

/// <summary>Work that a blocked thread waits for.</summary>
internal sealed class AwaitedAction : AwaitedCall
{
    /// <summary>The calling thread's, while it waits for none.</summary>
    [ThreadStatic]
    private static AwaitedAction? _spare;

    private Action<IReactor>? _action;

    /// <summary>Has the reactor do the work, and waits for it.</summary>
    internal static void Do(RemoteEndpoint remote, Action<IReactor> action, TimeSpan? timeout, CancellationToken cancellation)
    {
        AwaitedAction call = _spare ?? new AwaitedAction();
        _spare = null;
        call._action = action;
        ExceptionDispatchInfo? failure = call.PostAndWait(remote, timeout, cancellation);
        call._action = null;
        _spare = call;
        failure?.Throw();
    }

    protected override void Work(IReactor reactor) => _action!(reactor);
}
