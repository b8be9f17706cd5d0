using System.ComponentModel;
using System.Diagnostics.CodeAnalysis;

namespace Vmm.Events.Tasks;

/// <summary>Builds async methods that give a <see cref="ReactorTask{T}"/>. For the compiler.</summary>
[EditorBrowsable(EditorBrowsableState.Never)]
[SuppressMessage("Design", "CA1000:Do not declare static members on generic types", Justification = "The compiler asks for this shape.")]
[SuppressMessage("Performance", "CA1822:Mark members as static", Justification = "The compiler asks for this shape.")]
[SuppressMessage("Performance", "CA1815:Override equals and operator equals on value types", Justification = "Builders are not compared.")]
public struct ReactorTaskMethodBuilder<T>
{
    private TaskCell<T>? _cell;
    private T _result;

    internal readonly TaskCell<T>? Cell => _cell;

    /// <summary>Starts with nothing: a method that never suspends needs no storage.</summary>
    public static ReactorTaskMethodBuilder<T> Create() => default;

    /// <summary>The task.</summary>
    public readonly ReactorTask<T> Task => _cell is null ? new ReactorTask<T>(_result) : new ReactorTask<T>(_cell, _cell.Generation);

    /// <summary>Runs the method up to its first suspension.</summary>
    public readonly void Start<TStateMachine>(ref TStateMachine stateMachine) where TStateMachine : IAsyncStateMachine =>
        stateMachine.MoveNext();

    /// <summary>Not used: state machines are structs.</summary>
    public readonly void SetStateMachine(IAsyncStateMachine stateMachine)
    {
    }

    /// <summary>The method returned.</summary>
    public void SetResult(T result)
    {
        if (_cell is null) _result = result; else _cell.SetResult(result);
    }

    /// <summary>The method threw.</summary>
    public void SetException(Exception exception)
    {
        _cell ??= StateMachineCell<FailedAtOnce, T>.Rent(ReactorTasks.Current);
        _cell.Failed(exception);
    }

    /// <summary>The method suspends.</summary>
    public void AwaitOnCompleted<TAwaiter, TStateMachine>(ref TAwaiter awaiter, ref TStateMachine stateMachine)
        where TAwaiter : INotifyCompletion where TStateMachine : IAsyncStateMachine
    {
        TaskCell cell = CellOf(ref stateMachine);
        if (!Builders.TrySuspend(ref awaiter, cell)) awaiter.OnCompleted(cell.Home);
    }

    /// <summary>The method suspends.</summary>
    public void AwaitUnsafeOnCompleted<TAwaiter, TStateMachine>(ref TAwaiter awaiter, ref TStateMachine stateMachine)
        where TAwaiter : ICriticalNotifyCompletion where TStateMachine : IAsyncStateMachine
    {
        TaskCell cell = CellOf(ref stateMachine);
        if (!Builders.TrySuspend(ref awaiter, cell)) awaiter.UnsafeOnCompleted(cell.Home);
    }

    private TaskCell CellOf<TStateMachine>(ref TStateMachine stateMachine) where TStateMachine : IAsyncStateMachine
    {
        if (_cell is not null) return _cell;
        StateMachineCell<TStateMachine, T> cell = StateMachineCell<TStateMachine, T>.Rent(ReactorTasks.Current);
        // This builder is part of the state machine: it must know its cell before it is copied there.
        _cell = cell;
        cell.StateMachine = stateMachine;
        return cell;
    }
}

/// <summary>Builds async methods that give a <see cref="ReactorTask"/>. For the compiler.</summary>
[EditorBrowsable(EditorBrowsableState.Never)]
[SuppressMessage("Design", "CA1000:Do not declare static members on generic types", Justification = "The compiler asks for this shape.")]
[SuppressMessage("Performance", "CA1822:Mark members as static", Justification = "The compiler asks for this shape.")]
[SuppressMessage("Performance", "CA1815:Override equals and operator equals on value types", Justification = "Builders are not compared.")]
public struct ReactorTaskMethodBuilder
{
    private ReactorTaskMethodBuilder<NoResult> _typed;

    /// <summary>Starts with nothing: a method that never suspends needs no storage.</summary>
    public static ReactorTaskMethodBuilder Create() => default;

    /// <summary>The task.</summary>
    public readonly ReactorTask Task => _typed.Cell is { } cell ? new ReactorTask(cell, cell.Generation) : default;

    /// <summary>Runs the method up to its first suspension.</summary>
    public readonly void Start<TStateMachine>(ref TStateMachine stateMachine) where TStateMachine : IAsyncStateMachine =>
        stateMachine.MoveNext();

    /// <summary>Not used: state machines are structs.</summary>
    public readonly void SetStateMachine(IAsyncStateMachine stateMachine)
    {
    }

    /// <summary>The method returned.</summary>
    public void SetResult() => _typed.SetResult(default);

    /// <summary>The method threw.</summary>
    public void SetException(Exception exception) => _typed.SetException(exception);

    /// <summary>The method suspends.</summary>
    public void AwaitOnCompleted<TAwaiter, TStateMachine>(ref TAwaiter awaiter, ref TStateMachine stateMachine)
        where TAwaiter : INotifyCompletion where TStateMachine : IAsyncStateMachine =>
            _typed.AwaitOnCompleted(ref awaiter, ref stateMachine);

    /// <summary>The method suspends.</summary>
    public void AwaitUnsafeOnCompleted<TAwaiter, TStateMachine>(ref TAwaiter awaiter, ref TStateMachine stateMachine)
        where TAwaiter : ICriticalNotifyCompletion where TStateMachine : IAsyncStateMachine =>
            _typed.AwaitUnsafeOnCompleted(ref awaiter, ref stateMachine);
}

/// <summary>What a builder does with an awaiter.</summary>
internal static class Builders
{
    /// <summary>
    /// Suspends on an awaiter of ours. Optimized from its first call on: then the awaiter's type is known, and neither the test nor the
    /// call boxes it.
    /// </summary>
    /// <returns>False if the awaiter knows nothing of tasks.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static bool TrySuspend<TAwaiter>(ref TAwaiter awaiter, TaskCell cell)
    {
        if (awaiter is not ITaskAwaiter) return false;
        ((ITaskAwaiter)awaiter).Suspend(cell);
        if (cell.Is(TaskMarks.AbortWanted)) cell.DeliverAbort();
        return true;
    }
}

/// <summary>The state machine of a method that failed before its first suspension.</summary>
internal struct FailedAtOnce : IAsyncStateMachine
{
    public readonly void MoveNext()
    {
    }

    public readonly void SetStateMachine(IAsyncStateMachine stateMachine)
    {
    }
}
