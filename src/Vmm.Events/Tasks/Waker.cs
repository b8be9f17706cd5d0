namespace Vmm.Events.Tasks;

/// <summary>
/// Wakes a task that parked. Thread-safe. Waking a task that is awake already, twice, or that has ended, is harmless. The task's storage stays until the last
/// of its wakers is disposed; each one, and each clone, is disposed once.
/// </summary>
public readonly struct Waker : IDisposable, IEquatable<Waker>
{
    private readonly TaskCell _cell;

    private Waker(TaskCell cell) => _cell = cell;

    internal static Waker Of(TaskCell cell)
    {
        cell.AddWaker();
        return new Waker(cell);
    }

    /// <summary>Ends the task's park, or its next one.</summary>
    /// <returns>False if its reactor has stopped.</returns>
    public bool Wake() => _cell.Notify();

    /// <summary>A second waker of the same task.</summary>
    /// <exception cref="InvalidOperationException">The task has 65 535 wakers.</exception>
    public Waker Clone() => Of(_cell);

    /// <summary>Lets go of the task.</summary>
    public void Dispose() => _cell?.DropWaker();

    /// <inheritdoc/>
    public bool Equals(Waker other) => _cell == other._cell;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is Waker other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => _cell?.GetHashCode() ?? 0;

    /// <summary>Whether both wake the same task.</summary>
    public static bool operator ==(Waker left, Waker right) => left.Equals(right);

    /// <summary>Whether they wake different tasks.</summary>
    public static bool operator !=(Waker left, Waker right) => !left.Equals(right);
}
