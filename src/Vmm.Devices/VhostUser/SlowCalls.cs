using Vmm.Events.Tasks;

namespace Vmm.Devices.VhostUser;

/// <summary>
/// Has the runtime's pool make calls that take as long as a front-end likes, while the session waits: mapping and unmapping (eight regions,
/// terabytes, huge pages), closing what it sent. The reactor serves the neighbours meanwhile. Nothing else of the session goes on, so the
/// calls may use all of it.
/// </summary>
internal sealed class SlowCalls(VhostUserBackendOptions options, VhostUserExchange exchange)
{
    private readonly List<IDisposable> _retired = [];

    internal async ReactorTask<T> Beside<T>(Func<T> calls)
    {
        T? result = default;
        Task made = options.SlowCalls(() => result = calls());
        try
        {
            await made.ComeHome();
        }
        catch (TaskAbortedException)
        {
            // The reactor ends. What the calls use is let go of next.
            made.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing).GetAwaiter().GetResult();
            throw;
        }
        return result!;
    }

    /// <summary>What a request mapped and did not put into force, or took out of force: <see cref="LetGo"/> unmaps it.</summary>
    internal void Retire(IDisposable? memory)
    {
        if (memory is not null) _retired.Add(memory);
    }

    /// <summary>It came into force.</summary>
    internal void Keep(IDisposable memory) => _retired.Remove(memory);

    /// <summary>All of it came into force.</summary>
    internal void KeepAll() => _retired.Clear();

    /// <summary>Unmaps what a request left behind, and closes its descriptors: beside the reactor, if there are any.</summary>
    internal async ReactorTask LetGo()
    {
        if (_retired.Count > 0 || exchange.Fds.AnyLeft) await Beside(Drop);
    }

    /// <summary>The same at once, on this thread.</summary>
    internal bool Drop()
    {
        _retired.ForEach(each => each.Dispose());
        _retired.Clear();
        exchange.Fds.Clear();
        return true;
    }
}
