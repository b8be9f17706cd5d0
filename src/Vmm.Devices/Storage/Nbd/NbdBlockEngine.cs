namespace Vmm.Devices;

/// <summary>One queue's part of a link. On the reactor's thread.</summary>
internal sealed class NbdBlockEngine(NbdDisk disk, NbdLink link, Action onCompleted) : IBlockEngine
{
    private bool _hasEnded;

    public void Start(BlockOperation operation) => link.Begin(this, operation);

    public void Submit()
    {
        link.Flush();
        // What failed at once is shown by the caller.
        _hasEnded = false;
    }

    public void Abandon() => link.Abandon(this);

    public void Dispose()
    {
        link.Remove(this);
        disk.Release(link);
    }

    /// <summary>One of its operations is over.</summary>
    internal void Ended() => _hasEnded = true;

    /// <summary>Shows the driver what ended since the last time.</summary>
    internal void Publish()
    {
        if (!_hasEnded) return;
        _hasEnded = false;
        onCompleted();
    }
}
