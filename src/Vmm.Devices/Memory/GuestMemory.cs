namespace Vmm.Devices;

// Contract: completed by its owner.
/// <summary>The guest's physical memory: regions over mapped memfds. The only way to guest bytes.</summary>
public sealed class GuestMemory : IDisposable
{
    /// <summary>One region of fresh memory at guest-physical address 0.</summary>
    public static GuestMemory Create(ulong bytes) => throw new NotImplementedException();

    /// <summary>A span over guest bytes that lie in one region. It must not outlive the turn.</summary>
    /// <returns>False if any byte of the range is outside of that region, or the range wraps.</returns>
    public bool TryGetSpan(ulong address, uint length, out Span<byte> span) => throw new NotImplementedException();

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
