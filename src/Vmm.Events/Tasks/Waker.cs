using System.Diagnostics.CodeAnalysis;

namespace Vmm.Events.Tasks;

/// <summary>
/// Wakes a task that parked. Thread-safe. Waking a task that is awake already, twice, or that has ended, is harmless. The task's storage is
/// not reused until the last of its wakers is disposed; each one, and each clone, is disposed once. A copy of a waker that was disposed is
/// stale: it never reaches the task that uses the storage next, and using it throws.
/// </summary>
public readonly struct Waker : IDisposable, IEquatable<Waker>
{
    private readonly TaskCell _cell;
    private readonly uint _generation;

    private Waker(TaskCell cell, uint generation)
    {
        _cell = cell;
        _generation = generation;
    }

    /// <summary>One more waker of the life that a cell has now.</summary>
    internal static Waker Of(TaskCell cell)
    {
        cell.AddWaker();
        return new Waker(cell, cell.Generation);
    }

    /// <summary>Ends the task's park, or its next one.</summary>
    /// <returns>False if its reactor has stopped.</returns>
    /// <exception cref="InvalidOperationException">The waker was disposed, and its task's storage is used by another one.</exception>
    public bool Wake() => Checked().Notify();

    /// <summary>A second waker of the same task.</summary>
    /// <exception cref="InvalidOperationException">The task has 65 535 wakers, or this one was disposed.</exception>
    public Waker Clone() => Of(Checked());

    /// <summary>Lets go of the task.</summary>
    /// <exception cref="InvalidOperationException">It was disposed before.</exception>
    public void Dispose()
    {
        if (_cell is not null) Checked().DropWaker();
    }

    /// <summary>
    /// The cell in the life that this waker is of. That life cannot end while the waker is not disposed. Inlined: a wake costs little else.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private TaskCell Checked()
    {
        if (_cell is null || Volatile.Read(ref _cell.Generation) != _generation) ThrowStale();
        return _cell;
    }

    [DoesNotReturn]
    private static void ThrowStale() => throw new InvalidOperationException("this waker was disposed before");

    /// <inheritdoc/>
    public bool Equals(Waker other) => _cell == other._cell && _generation == other._generation;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is Waker other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(_cell, _generation);

    /// <summary>Whether both wake the same task.</summary>
    public static bool operator ==(Waker left, Waker right) => left.Equals(right);

    /// <summary>Whether they wake different tasks.</summary>
    public static bool operator !=(Waker left, Waker right) => !left.Equals(right);
}
