using Vmm.Devices;

namespace Vmm.Fuzz;

/// <summary>An interrupt line that is connected to nothing, for a guest that polls.</summary>
internal sealed class NoLine : IInterrupt, IVirtioInterrupt
{
    public void Assert()
    {
    }

    public void Deassert()
    {
    }

    public void SignalQueue(int queueIndex)
    {
    }

    public void SignalConfig()
    {
    }

    public void SignalNeedsReset()
    {
    }
}
