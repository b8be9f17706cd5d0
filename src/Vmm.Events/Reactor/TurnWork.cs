namespace Vmm.Events;

/// <summary>
/// Work that gathers while handlers run and is done once at the end of the turn, before the reactor waits again: a ring's submissions,
/// ready tasks. A reactor with none of it pays one test of a flag. Used on the reactor's thread only.
/// </summary>
internal abstract class TurnWork
{
    /// <summary>Where tasks come: what they begin is submitted in the same turn.</summary>
    internal const int TasksOrder = 0;

    /// <summary>Where rings come.</summary>
    internal const int RingsOrder = 1;

    private TurnWorkList? _list;

    private protected TurnWork(int order) => Order = order;

    internal int Order { get; }

    /// <summary>Has <see cref="Run"/> called before the reactor waits next.</summary>
    internal void Request() => _list?.Request();

    /// <summary>Does what has gathered, within a bound, and requests another run if more is left.</summary>
    /// <returns>How many things were done.</returns>
    internal abstract int Run();

    /// <summary>
    /// The reactor runs no more, and its descriptors are still open. On the thread that ran it, or on the one that disposes a reactor that
    /// never ran; once more when it is disposed.
    /// </summary>
    internal abstract void ReactorEnding();

    internal void Attached(TurnWorkList? list) => _list = list;
}
