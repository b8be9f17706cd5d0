namespace Vmm.Devices;

/// <summary>
/// Keeps one state of guest memory mapped: host addresses taken under it stay valid until it is disposed, even if regions are removed
/// meanwhile. Used by one thread at a time.
/// </summary>
public sealed class MemoryHold : IDisposable
{
    private bool _disposed;

    internal MemoryHold(MemoryMap map) => Map = map;

    internal MemoryMap Map { get; }

    /// <summary>Chains popped under this hold and not pushed yet; its queue counts from when it has another hold.</summary>
    internal int Chains { get; set; }

    /// <summary>A span over guest bytes that lie in one region, valid while this is held.</summary>
    /// <returns>False if any byte of the range is outside of that region, or the range wraps.</returns>
    public bool TryGetSpan(ulong address, uint length, out Span<byte> span)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        return Map.TryGetSpan(address, length, out span);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        Map.Release();
    }
}
