namespace Vmm.Events.Tasks;

/// <summary>How the tasks of a reactor behave. Read once, when the tasks are first asked for.</summary>
public sealed record ReactorTasksOptions
{
    /// <summary>Most cells that can be reserved for a method.</summary>
    public const int ReserveMax = 1 << 20;

    /// <summary>
    /// Storage cells that are made for an async method when it first suspends, 1 to <see cref="ReserveMax"/>; when all are in use, as many
    /// again. With as many as there are ever at a time, steady state begins with the first one: no later task allocates.
    /// </summary>
    public int Reserve { get; init; } = 16;

    internal void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(Reserve, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(Reserve, ReserveMax);
    }
}
