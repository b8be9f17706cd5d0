using Microsoft.Extensions.Logging;

namespace Vmm.Devices;

/// <summary>Accesses of a driver that had no meaning or were not allowed: each is counted, the first is logged. Any thread.</summary>
internal sealed class MmioRefusals(VirtioDevice device)
{
    private long _count;

    internal long Count => Interlocked.Read(ref _count);

    internal void Add(string what)
    {
        if (Interlocked.Increment(ref _count) == 1)
            device.Logger.LogWarning("{Device}: the driver tried {What}: ignored (later ones are counted, not logged)", device.Name, what);
    }
}
