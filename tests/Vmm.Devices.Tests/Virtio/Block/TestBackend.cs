using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>A backend that fails as it is told, or completes only when it is told.</summary>
internal sealed class TestBackend : IBlockBackend
{
    private readonly List<BlockOperation> _waiting = [];
    private readonly HashSet<Action> _onCompleted = [];

    public string Description => "test backend";

    public ulong CapacityBytes { get; init; } = 1 << 20;

    public bool IsReadOnly => false;

    internal Errno Failure { get; set; }

    internal bool Waits { get; set; }

    internal BlockOperation? Last { get; private set; }

    /// <summary>Bytes of all operations that were started.</summary>
    internal ulong Bytes { get; private set; }

    internal int Waiting => _waiting.Count;

    internal int Submits { get; private set; }

    internal int Engines { get; private set; }

    internal bool IsDisposed { get; private set; }

    public IBlockEngine CreateEngine(IReactor reactor, Action onCompleted)
    {
        Engines++;
        _onCompleted.Add(onCompleted);
        return new Engine(this);
    }

    public void Dispose() => IsDisposed = true;

    /// <summary>Completes what waits, last first, as a device with many heads may.</summary>
    internal void CompleteAll()
    {
        for (int i = _waiting.Count - 1; i >= 0; i--)
        {
            BlockOperation operation = _waiting[i];
            _waiting.RemoveAt(i);
            Finish(operation);
        }
        foreach (Action completed in _onCompleted) completed();
    }

    private void Finish(BlockOperation operation)
    {
        if (Failure == Errno.None) operation.Advance(operation.Remaining);
        operation.Complete(Failure);
    }

    private sealed class Engine(TestBackend backend) : IBlockEngine
    {
        public void Start(BlockOperation operation)
        {
            if (operation.Remaining > backend.CapacityBytes || operation.Offset > backend.CapacityBytes - operation.Remaining)
                throw new InvalidOperationException($"{operation.Kind} of {operation.Remaining} bytes at {operation.Offset} leaves the disk");
            backend.Last = operation;
            backend.Bytes += operation.Remaining;
            if (backend.Waits) backend._waiting.Add(operation);
            else backend.Finish(operation);
        }

        public void Submit() => backend.Submits++;

        public void Dispose() => backend.Engines--;
    }
}
