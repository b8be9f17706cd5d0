using System.Collections;

namespace Vmm.Events;

/// <summary>
/// Several reactors, each on a thread of its own. A device, or a single queue of it, is pinned to one by registering it there; it can be
/// handed to another with <see cref="RemoteEndpoint.HandOverAsync"/>. Members may be called from any thread; <see cref="Stop"/> and
/// <see cref="Dispose"/> must not be called on a thread of the group.
/// </summary>
public sealed class ReactorGroup : IReadOnlyList<ReactorThread>, IDisposable
{
    /// <summary>Most reactors of a group: each costs a thread and two descriptors.</summary>
    public const int CountMax = 1024;

    private readonly ReactorThread[] _threads;

    /// <summary>Makes reactors whose threads do not run yet.</summary>
    /// <param name="count">How many, 1 to <see cref="CountMax"/>.</param>
    /// <param name="options">
    /// The options of each by its index; null for the defaults, named <c>reactor-0</c> and so on. Names are unique.
    /// </param>
    /// <exception cref="ArgumentException">Two reactors have the same name.</exception>
    /// <exception cref="KernelException">The process has no descriptor left.</exception>
    public ReactorGroup(int count, Func<int, ReactorOptions>? options = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, CountMax);
        ReactorOptions[] all =
            [.. Enumerable.Range(0, count).Select(options ?? (index => new ReactorOptions { Name = $"reactor-{index}" }))];
        if (all.GroupBy(each => each.Name).FirstOrDefault(same => same.Count() > 1) is { } twins)
            throw new ArgumentException($"{twins.Count()} reactors are named '{twins.Key}': give each a name of its own", nameof(options));

        List<ReactorThread> made = [];
        try
        {
            foreach (ReactorOptions each in all) made.Add(new ReactorThread(each));
        }
        catch
        {
            foreach (ReactorThread thread in made) thread.Dispose();
            throw;
        }
        _threads = [.. made];
        Completion = Task.WhenAll(_threads.Select(thread => thread.Completion));
    }

    /// <summary>How many reactors there are.</summary>
    public int Count => _threads.Length;

    /// <summary>Ends when all threads have; with the failures that stopped reactors. One that fails leaves the others running.</summary>
    public Task Completion { get; }

    /// <summary>The reactor of an index.</summary>
    public ReactorThread this[int index] => _threads[index];

    /// <summary>The reactor of a name.</summary>
    /// <exception cref="KeyNotFoundException">None has it.</exception>
    public ReactorThread this[string name] => Array.Find(_threads, thread => thread.Name == name)
        ?? throw new KeyNotFoundException(
            $"no reactor is named '{name}'; there are {string.Join(", ", _threads.Select(thread => thread.Name))}");

    /// <summary>Starts every thread. If one cannot start, those that did are stopped again.</summary>
    /// <inheritdoc cref="ReactorThread.Start" path="/exception"/>
    public void Start()
    {
        int started = 0;
        try
        {
            for (; started < _threads.Length; started++) _threads[started].Start();
        }
        catch
        {
            for (int i = 0; i < started; i++) _threads[i].Stop();
            throw;
        }
    }

    /// <summary>Whether every reactor answers within a time: what a watchdog asks. Not on a thread of the group.</summary>
    /// <param name="patience">How long to wait for all of them.</param>
    public bool IsAlive(TimeSpan patience)
    {
        try
        {
            return Task.WaitAll([.. _threads.Select(thread => thread.Remote.InvokeAsync(static _ => true))], patience);
        }
        catch (AggregateException)
        {
            // A reactor has stopped: Completion says why.
            return false;
        }
    }

    /// <summary>Stops every reactor and waits for their threads.</summary>
    /// <exception cref="InvalidOperationException">Called on a thread of the group.</exception>
    /// <exception cref="AggregateException">The failures that had stopped reactors before.</exception>
    public void Stop()
    {
        ThrowIfOwnThread();
        foreach (ReactorThread thread in _threads) thread.RequestStop();
        List<Exception> failures = [];
        foreach (ReactorThread thread in _threads)
        {
            try
            {
                thread.Stop();
            }
            catch (Exception failure)
            {
                failures.Add(failure);
            }
        }
        if (failures.Count > 0) throw new AggregateException(failures);
    }

    /// <summary>
    /// Stops every reactor, waits for their threads and closes what they watched. Failures are left to <see cref="Completion"/>.
    /// </summary>
    /// <exception cref="InvalidOperationException">Called on a thread of the group.</exception>
    public void Dispose()
    {
        ThrowIfOwnThread();
        foreach (ReactorThread thread in _threads) thread.RequestStop();
        foreach (ReactorThread thread in _threads) thread.Dispose();
    }

    /// <inheritdoc/>
    public IEnumerator<ReactorThread> GetEnumerator() => ((IEnumerable<ReactorThread>)_threads).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => _threads.GetEnumerator();

    /// <summary>Before any is stopped: half a group stopped by a member of it would wait for ever.</summary>
    private void ThrowIfOwnThread()
    {
        if (Array.Find(_threads, thread => thread.Remote.IsReactorThread) is { } own)
            throw new InvalidOperationException(
                $"this is the thread of reactor '{own.Name}', which cannot wait for its own end: request the stop");
    }
}
