namespace Vmm.Benchmarks;

/// <summary>A message that is allocated once and sent many times, never twice at a time.</summary>
internal sealed class Signal(Action? handled = null) : RemoteCall
{
    private long _count;

    internal void Handle()
    {
        _count++;
        handled?.Invoke();
    }

    protected internal override void Run(IReactor reactor) => Handle();

    /// <summary>The signals of one thread; a signal is used again when it was handled, at the earliest a whole round later.</summary>
    internal static Signal[] CreatePool() => [.. Enumerable.Range(0, PoolSize).Select(_ => new Signal())];

    private const int PoolSize = 16 * 1024;
}
