namespace Vmm.Events.Rings;

/// <summary>The free cells of each kind of operation, for one ring.</summary>
internal sealed class OperationPools
{
    private static int _keys;

    private RingRequest?[] _first = new RingRequest?[16];

    /// <summary>A number for one more kind. Any thread.</summary>
    internal static int NextKey() => Interlocked.Increment(ref _keys) - 1;

    /// <summary>The first free cell of a kind; the others hang on it.</summary>
    internal ref RingRequest? Of(int key)
    {
        if (key >= _first.Length) Array.Resize(ref _first, Math.Max(key + 1, _first.Length * 2));
        return ref _first[key];
    }
}
