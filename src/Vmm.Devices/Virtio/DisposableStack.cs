namespace Vmm.Devices;

/// <summary>Objects that were opened one after the other, and are disposed in reverse.</summary>
internal sealed class DisposableStack : IDisposable
{
    private readonly Stack<IDisposable> _open = [];

    /// <summary>Opens one more; if that fails the others are disposed.</summary>
    internal void Add(Func<IDisposable?> open)
    {
        try
        {
            if (open() is { } opened) _open.Push(opened);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        while (_open.TryPop(out IDisposable? opened)) opened.Dispose();
    }
}
