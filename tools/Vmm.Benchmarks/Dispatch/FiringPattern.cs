using System.Runtime.InteropServices;

namespace Vmm.Benchmarks;

/// <summary>Which eventfds fire before each wait.</summary>
/// <param name="Hot">How many in the middle fire one at a time, in turn; 0: all fire at once.</param>
internal readonly partial record struct FiringPattern(int Hot)
{
    internal static FiringPattern AllAtOnce => new(0);

    internal bool IsAllAtOnce => Hot == 0;

    internal int FirstHot(int count) => IsAllAtOnce ? 0 : count / 2 / Hot * Hot;

    /// <summary>The event's source: one write through libc, as the C baseline does it, the same for every C# variant.</summary>
    internal static unsafe void Fire(int fd)
    {
        ulong one = 1;
        // SAFETY: the kernel reads 8 bytes of a local of 8 bytes.
        if (Write(fd, &one, sizeof(ulong)) != sizeof(ulong)) throw new InvalidOperationException($"eventfd {fd} cannot be fired");
    }

    [LibraryImport("libc", EntryPoint = "write")]
    [SuppressGCTransition]
    private static unsafe partial nint Write(int fd, ulong* value, nint length);

    internal static EventFd[] CreateEventFds(int count)
    {
        EventFd[] fds = new EventFd[count];
        for (int i = 0; i < count; i++) fds[i] = new EventFd();
        return fds;
    }
}

/// <summary>The C baseline under a pattern.</summary>
internal sealed class BaselineContender(int count, FiringPattern pattern) : IContender
{
    private readonly nint _baseline = CompiledBaseline.Create(count);

    public int Quantum => pattern.IsAllAtOnce ? count : 1;

    public void Run(long operations)
    {
        if (pattern.IsAllAtOnce) CompiledBaseline.AllReady(_baseline, operations / count, count);
        else CompiledBaseline.OneReady(_baseline, operations, pattern.Hot);
    }

    public void Dispose() => CompiledBaseline.Destroy(_baseline);
}

/// <summary>An engine under a pattern: fire, turn, on one thread.</summary>
internal sealed class EngineContender : IContender
{
    private readonly IEngine _engine;
    private readonly FiringPattern _pattern;
    private readonly int[] _numbers;

    internal EngineContender(Engines.Factory create, int count, int fdsPerSubscriber, FiringPattern pattern)
    {
        EventFd[] fds = FiringPattern.CreateEventFds(count);
        _numbers = [.. fds.Select(fd => fd.Number)];
        _pattern = pattern;
        _engine = create(fds, fdsPerSubscriber);
    }

    public int Quantum => _pattern.IsAllAtOnce ? _numbers.Length : 1;

    public void Run(long operations)
    {
        if (_pattern.IsAllAtOnce) FireAll(operations / _numbers.Length);
        else FireHot(operations);
    }

    public void Dispose() => _engine.Dispose();

    private void FireHot(long events)
    {
        int first = _pattern.FirstHot(_numbers.Length);
        int hot = _pattern.Hot;
        int next = 0;
        for (long i = 0; i < events; i++)
        {
            FiringPattern.Fire(_numbers[first + next]);
            if (++next == hot) next = 0;
            _engine.Turn();
        }
    }

    private void FireAll(long passes)
    {
        for (long pass = 0; pass < passes; pass++)
        {
            foreach (int fd in _numbers) FiringPattern.Fire(fd);
            for (int handled = 0; handled < _numbers.Length;) handled += _engine.Turn();
        }
    }
}
