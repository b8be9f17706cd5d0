using System.Runtime.InteropServices;
using Vmm.Events.Native;

namespace Vmm.Benchmarks;

/// <summary>A reactor on processor 0 and a caller on a processor of its own, or on the same.</summary>
internal sealed class PinnedInvoke : IContender
{
    private readonly ReactorThread _reactor;
    private readonly PinnedCaller _caller;
    private readonly Func<IReactor, long> _call;
    private long _calls;

    internal PinnedInvoke(int callerCpu, TimeSpan pollMax)
    {
        _call = _ => _calls++;
        _reactor = new ReactorThread(new ReactorOptions { Name = "callee", PollMax = pollMax, Cpu = 0 });
        _reactor.Start();
        _caller = new PinnedCaller(callerCpu, operations =>
        {
            for (long i = 0; i < operations; i++) _reactor.Remote.Invoke(_call);
        });
    }

    public void Run(long operations) => _caller.Run(operations);

    public void Dispose()
    {
        _caller.Dispose();
        _reactor.Dispose();
    }
}

/// <summary>The same of C: invoke_baseline.c.</summary>
internal sealed partial class SpinningCall : IContender
{
    private const string Source = "invoke_baseline.c";

    private readonly nint _server = Create(cpu: 0);
    private readonly PinnedCaller _caller;

    internal SpinningCall()
    {
        if (_server == 0) throw new IOException("the C baseline cannot make a thread");
        _caller = new PinnedCaller(1, operations => Call(_server, operations));
    }

    public void Run(long operations) => _caller.Run(operations);

    public void Dispose()
    {
        _caller.Dispose();
        Destroy(_server);
    }

    [LibraryImport(Source, EntryPoint = "baseline_create")]
    private static partial nint Create(int cpu);

    [LibraryImport(Source, EntryPoint = "baseline_call")]
    private static partial void Call(nint server, long calls);

    [LibraryImport(Source, EntryPoint = "baseline_destroy")]
    private static partial void Destroy(nint server);
}

/// <summary>A thread on a processor of its choice that does so many operations at a time.</summary>
internal sealed class PinnedCaller : IDisposable
{
    private const long End = -1;

    private readonly Thread _thread;
    private readonly SemaphoreSlim _go = new(0), _done = new(0);
    private long _operations;

    internal PinnedCaller(int cpu, Action<long> work)
    {
        _thread = new Thread(() =>
        {
            Errno errno = Libc.PinCallingThread(cpu);
            if (errno != Errno.None) throw new IOException($"this benchmark needs processor {cpu}: {errno}");
            while (true)
            {
                _go.Wait();
                if (_operations == End) return;
                work(_operations);
                _done.Release();
            }
        })
        { IsBackground = true };
        _thread.Start();
    }

    internal void Run(long operations)
    {
        Go(operations);
        _done.Wait();
    }

    public void Dispose()
    {
        Go(End);
        _thread.Join();
        _go.Dispose();
        _done.Dispose();
    }

    private void Go(long operations)
    {
        _operations = operations;
        _go.Release();
    }
}
