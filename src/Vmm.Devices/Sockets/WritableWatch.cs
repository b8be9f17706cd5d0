namespace Vmm.Devices;

/// <summary>Reports, once for each request, that a descriptor has room to write. On one reactor's thread.</summary>
internal sealed class WritableWatch(OwnedFd fd, IReactor reactor, Action onReady) : IDisposable
{
    private Subscription<OwnedFd>? _writable;

    /// <summary>Calls back when there is room.</summary>
    internal void Await()
    {
        if (_writable is not null)
        {
            reactor.Modify(_writable, Interest.Writable.OneShot);
            return;
        }
        _writable = Interest.Writable.OneShot.WithFd(fd.Duplicate()).WithHandler(_ => onReady());
        reactor.Add(_writable);
    }

    public void Dispose()
    {
        if (_writable is not null) reactor.Remove(_writable);
        _writable = null;
    }
}
