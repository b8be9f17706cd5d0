namespace Vmm.Tool;

/// <summary>Things that were opened one after the other, and are let go in reverse.</summary>
internal sealed class DisposableStack : IDisposable
{
    private readonly Stack<IDisposable> _open = [];

    /// <summary>Opens one more; if that fails the others are let go.</summary>
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
