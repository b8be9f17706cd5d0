namespace Vmm.Events.Tasks;

/// <summary>A cell with room for a result.</summary>
internal abstract class TaskCell<T>(ReactorTasks tasks) : TaskCell(tasks)
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
    private static readonly int SlabKey = ReactorTasks.NextSlabKey();

    private readonly MethodSlab<StateMachineCell<TStateMachine, T>> _slab;

    internal TStateMachine StateMachine = default!;

    private StateMachineCell(ReactorTasks tasks, MethodSlab<StateMachineCell<TStateMachine, T>> slab) : base(tasks) => _slab = slab;

    internal static StateMachineCell<TStateMachine, T> Rent(ReactorTasks tasks)
    {
        MethodSlab<StateMachineCell<TStateMachine, T>> slab =
            (MethodSlab<StateMachineCell<TStateMachine, T>>?)tasks.Slab(SlabKey) ?? AddSlab(tasks);
        if (slab.IsEmpty) Grow(tasks, slab);
        StateMachineCell<TStateMachine, T> cell = slab.Take();
        cell.Begin();
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
        _slab.Return(this);
    }

    private static MethodSlab<StateMachineCell<TStateMachine, T>> AddSlab(ReactorTasks tasks)
    {
        MethodSlab<StateMachineCell<TStateMachine, T>> slab = new();
        tasks.Slab(SlabKey) = slab;
        return slab;
    }

    private static void Grow(ReactorTasks tasks, MethodSlab<StateMachineCell<TStateMachine, T>> slab)
    {
        tasks.CountSlabGrowth();
        for (int i = 0; i < tasks.Reserve; i++)
        {
            StateMachineCell<TStateMachine, T> cell = new(tasks, slab);
            tasks.Track(cell);
            slab.Return(cell);
        }
    }
}

/// <summary>The result of a task that has none.</summary>
internal readonly struct NoResult;
