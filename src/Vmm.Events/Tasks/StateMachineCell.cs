using System.Runtime.CompilerServices;

namespace Vmm.Events.Tasks;

/// <summary>A cell with room for a result.</summary>
internal abstract class TaskCell<T> : TaskCell
{
    internal T? Result;

    internal void SetResult(T result)
    {
        Result = result;
        Succeeded();
    }
}

/// <summary>The storage of one async method: its state machine lives here from its first suspension on.</summary>
internal sealed class StateMachineCell<TStateMachine, T> : TaskCell<T> where TStateMachine : IAsyncStateMachine
{
    /// <summary>Cells made at a time, when the slab of a method is empty.</summary>
    private const int GrowBy = 16;

    private static readonly int SlabKey = ReactorTasks.NextSlabKey();

    internal TStateMachine StateMachine = default!;

    internal static StateMachineCell<TStateMachine, T> Rent(ReactorTasks tasks)
    {
        ref TaskCell? slab = ref tasks.Slab(SlabKey);
        if (slab is null) Grow(tasks, ref slab);
        StateMachineCell<TStateMachine, T> cell = (StateMachineCell<TStateMachine, T>)slab!;
        slab = cell.NextReady;
        cell.NextReady = null;
        cell.Begin(tasks);
        return cell;
    }

    internal override string MethodName
    {
        get
        {
            // <ServeAsync>d__3 is what the compiler makes of ServeAsync.
            string name = typeof(TStateMachine).Name;
            int end = name.IndexOf('>', StringComparison.Ordinal);
            return end > 1 ? name[1..end] : name;
        }
    }

    internal override void Resume() => StateMachine.MoveNext();

    private protected override void ClearAndReturn()
    {
        if (RuntimeHelpers.IsReferenceOrContainsReferences<TStateMachine>()) StateMachine = default!;
        if (RuntimeHelpers.IsReferenceOrContainsReferences<T>()) Result = default;
        ref TaskCell? slab = ref Tasks.Slab(SlabKey);
        NextReady = slab;
        slab = this;
    }

    private static void Grow(ReactorTasks tasks, ref TaskCell? slab)
    {
        tasks.CountSlabGrowth(GrowBy);
        for (int i = 0; i < GrowBy; i++) slab = new StateMachineCell<TStateMachine, T> { NextReady = slab };
    }
}

/// <summary>The result of a task that has none.</summary>
internal readonly struct NoResult;
