using System.Runtime.ExceptionServices;

namespace Vmm.Events;

/// <summary>A function whose result a blocked thread waits for.</summary>
internal sealed class AwaitedFunction<T> : AwaitedCall
{
    /// <summary>The calling thread's, while it waits for none.</summary>
    [ThreadStatic]
    private static AwaitedFunction<T>? _spare;

    private Func<IReactor, T>? _function;
    private T? _result;

    /// <summary>Has the reactor run a function, and waits for it.</summary>
    internal static T Do(RemoteEndpoint remote, Func<IReactor, T> function, TimeSpan? timeout, CancellationToken cancellation)
    {
        AwaitedFunction<T> call = _spare ?? new AwaitedFunction<T>();
        _spare = null;
        call._function = function;
        ExceptionDispatchInfo? failure = call.PostAndWait(remote, timeout, cancellation);
        T? result = call._result;
        (call._function, call._result) = (null, default);
        _spare = call;
        failure?.Throw();
        return result!;
    }

    protected override void Work(IReactor reactor) => _result = _function!(reactor);
}
