namespace Vmm.Devices;

/// <summary>What moves the bytes between an image and guest memory.</summary>
public enum BlockEngineKind
{
    /// <summary>The reactor's completion ring, a turn's operations in one call; threads where the kernel has no ring.</summary>
    Ring,
    /// <summary>A few threads and blocking calls.</summary>
    Threads,
    /// <summary>The reactor's own thread, one blocking call after the other.</summary>
    Synchronous,
}
