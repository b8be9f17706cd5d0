namespace Vmm.Devices.Tests;

/// <summary>An interrupt line that somebody looks at.</summary>
internal sealed class SeenLine : IInterrupt
{
    internal bool IsUp { get; private set; }

    public void Assert() => IsUp = true;

    public void Deassert() => IsUp = false;
}
