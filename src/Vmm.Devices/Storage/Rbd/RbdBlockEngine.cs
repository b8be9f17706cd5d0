namespace Vmm.Devices;

/// <summary>One queue's part of a link. On the reactor's thread.</summary>
internal sealed class RbdBlockEngine : IBlockEngine
{
    private readonly RbdDisk _disk;
    private readonly RbdLink _link;
    private readonly Action _onCompleted;
    private bool _hasEnded;

    internal RbdBlockEngine(RbdDisk disk, RbdLink link, Action onCompleted)
    {
        _disk = disk;
        _link = link;
        _onCompleted = onCompleted;
        link.Engines.Add(this);
    }

    public void Start(BlockOperation operation) => _link.Begin(this, operation);

    // librbd has each operation already.
    public void Submit() => _hasEnded = false;

    public void Dispose()
    {
        _link.Engines.Remove(this);
        _disk.Release();
    }

    /// <summary>One of its operations is over.</summary>
    internal void Ended() => _hasEnded = true;

    /// <summary>Shows the driver what ended since the last time.</summary>
    internal void Publish()
    {
        if (!_hasEnded) return;
        _hasEnded = false;
        _onCompleted();
    }
}
