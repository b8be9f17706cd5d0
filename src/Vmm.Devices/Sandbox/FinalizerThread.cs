using System.Runtime.ExceptionServices;

namespace Vmm.Devices.Sandbox;

/// <summary>
/// The thread on which the runtime calls finalizers, which it starts before the program begins. What a thread gives up for itself this one
/// has to give up too: it does work of ours inside of a finalizer, until it is given back.
/// </summary>
internal sealed class FinalizerThread : IDisposable
{
    /// <summary>How long the runtime may take to call a finalizer: nothing else has work for that thread.</summary>
    private const int PatienceMs = 30_000;

    private readonly SemaphoreSlim _asked = new(0), _done = new(0);
    private Action? _work;
    private Exception? _failure;

    private FinalizerThread()
    {
    }

    /// <summary>Has the thread do work for the caller.</summary>
    /// <exception cref="IOException">It does not come.</exception>
    internal static FinalizerThread Borrow()
    {
        FinalizerThread thread = new();
        Abandon(thread);
        GC.Collect(0, GCCollectionMode.Forced, blocking: true);
        return thread._done.Wait(PatienceMs) ? thread
            : throw new IOException("the runtime's thread for finalizers does nothing, and would keep its rights: give --sandbox=off");
    }

    /// <summary>Does something on the thread, and waits for its end. What it throws is thrown here.</summary>
    internal void Do(Action work)
    {
        _work = work;
        _asked.Release();
        _done.Wait();
        if (_failure is { } failure) ExceptionDispatchInfo.Throw(failure);
    }

    /// <summary>Gives the thread back.</summary>
    public void Dispose()
    {
        _work = null;
        _asked.Release();
    }

    private void Obey()
    {
        _done.Release();
        while (true)
        {
            _asked.Wait();
            if (_work is not { } work) return;
            try
            {
                work();
            }
            catch (Exception failure)
            {
                _failure = failure;
            }
            _done.Release();
        }
    }

    /// <summary>In a frame of its own, so that nothing refers to what it makes when it has returned.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Abandon(FinalizerThread thread) => _ = new Messenger(thread);

    private sealed class Messenger(FinalizerThread thread)
    {
        ~Messenger() => thread.Obey();
    }
}
