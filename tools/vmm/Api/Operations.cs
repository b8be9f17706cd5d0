using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;

namespace Vmm.Tool;

/// <summary>Work that takes longer than a client waits for an answer: it goes on by itself, and a client looks how far it is.</summary>
[SuppressMessage("Reliability", "CA1001", Justification = "The source has nothing to release: it has no timer and no wait handle.")]
internal sealed class Operation
{
    private readonly CancellationTokenSource _cancel = new();
    private readonly DateTimeOffset _began = DateTimeOffset.UtcNow;
    private readonly long _start = Stopwatch.GetTimestamp();
    private long _end;

    internal Operation(string id, string kind, string? device, Func<Operation, Task> work)
    {
        (Id, Kind, Device) = (id, kind, device);
        Task = Run(work);
    }

    internal string Id { get; }

    internal string Kind { get; }

    internal string? Device { get; }

    /// <summary>Its end, with what went wrong.</summary>
    internal Task Task { get; }

    /// <summary>Ends when a client gives it up.</summary>
    internal CancellationToken Cancelled => _cancel.Token;

    /// <summary>How far it is; null if it does not know.</summary>
    internal Func<SnapshotProgressView?>? Progress { get; set; }

    /// <summary>What it made, of a snapshot.</summary>
    internal SnapshotView? Snapshot { get; set; }

    internal OperationView View => new()
    {
        Id = Id,
        Kind = Kind,
        Device = Device,
        State = !Task.IsCompleted ? "running" : Task.IsCompletedSuccessfully ? "done" : "failed",
        Began = _began,
        Seconds = Stopwatch.GetElapsedTime(_start, Task.IsCompleted ? Volatile.Read(ref _end) : Stopwatch.GetTimestamp()).TotalSeconds,
        Progress = Task.IsCompleted ? null : Progress?.Invoke(),
        Snapshot = Snapshot,
        Problem = Task.Exception?.InnerException is { } failed ? ApiProblem.Of(failed).View
            : Task.IsCanceled ? new ApiProblem(409, "it was given up").View : null,
    };

    /// <summary>Asks it to give up. What can't be given up goes on.</summary>
    internal void Cancel() => _cancel.Cancel();

    private async Task Run(Func<Operation, Task> work)
    {
        await Task.Yield();
        try
        {
            await work(this).ConfigureAwait(false);
        }
        finally
        {
            Volatile.Write(ref _end, Stopwatch.GetTimestamp());
        }
    }
}

/// <summary>What took longer than its client waited: what is running, and what ended a while ago. Thread-safe.</summary>
internal sealed class Operations
{
    /// <summary>Most that are running, and most that are kept.</summary>
    private const int KeptMax = 64;

    private readonly Lock _lock = new();
    private readonly List<Operation> _kept = [];
    private int _last;

    internal OperationList View
    {
        get { lock (_lock) return new OperationList { Operations = [.. _kept.Select(operation => operation.View)] }; }
    }

    /// <summary>Begins one, of which its client learns the end.</summary>
    /// <exception cref="ApiProblem">As many as there may be are running.</exception>
    internal Operation Begin(string kind, string? device, Func<Operation, Task> work)
    {
        lock (_lock)
        {
            if (_kept.Count(operation => !operation.Task.IsCompleted) >= KeptMax)
                throw new ApiProblem(503, $"{KeptMax} operations are running: wait until some have ended");
            return new Operation($"{++_last}", kind, device, work);
        }
    }

    /// <summary>Its client waits no more: it can be found from now on.</summary>
    internal void Keep(Operation operation)
    {
        lock (_lock)
        {
            _kept.Add(operation);
            if (_kept.Count > KeptMax && _kept.FindIndex(each => each.Task.IsCompleted) is var ended and >= 0) _kept.RemoveAt(ended);
        }
    }

    /// <exception cref="ApiProblem">There is none.</exception>
    internal Operation Find(string id)
    {
        lock (_lock)
        {
            return _kept.Find(operation => operation.Id == id)
                ?? throw new ApiProblem(404, $"there is no operation '{id}': GET /v1/operations lists those that run or ended last");
        }
    }
}
