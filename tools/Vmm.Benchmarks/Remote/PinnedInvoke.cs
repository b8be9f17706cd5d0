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
internal sealed unsafe class SpinningCall : IContender
{
    private static readonly Lazy<nint> Library = new(() => BaselineLibrary.Load("invoke_baseline.c"));

    private readonly nint _server;
    private readonly PinnedCaller _caller;

    internal SpinningCall()
    {
        // SAFETY: the signatures of these function pointers are those of invoke_baseline.c, which was compiled from the file beside us.
        _server = ((delegate* unmanaged<int, nint>)NativeLibrary.GetExport(Library.Value, "baseline_create"))(0);
        if (_server == 0) throw new IOException("the C baseline cannot make a thread");
        var call = (delegate* unmanaged<nint, long, void>)NativeLibrary.GetExport(Library.Value, "baseline_call");
        _caller = new PinnedCaller(1, operations => call(_server, operations));
    }

    public void Run(long operations) => _caller.Run(operations);

    public void Dispose()
    {
        _caller.Dispose();
        ((delegate* unmanaged<nint, void>)NativeLibrary.GetExport(Library.Value, "baseline_destroy"))(_server);
    }
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
