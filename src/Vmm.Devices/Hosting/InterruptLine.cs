namespace Vmm.Devices;

/// <summary>
/// An interrupt line of a host, before it is known what machine it leads to. An interrupt raised while it leads nowhere is dropped: no guest runs.
/// </summary>
/// <param name="number">The line's number: what the guest is told.</param>
public sealed class InterruptLine(int number) : IInterrupt
{
    private volatile IInterrupt? _target;

    /// <summary>The line's number.</summary>
    public int Number => number;

    /// <inheritdoc/>
    public void Assert() => _target?.Assert();

    /// <inheritdoc/>
    public void Deassert() => _target?.Deassert();

    /// <summary>Leads the line to a machine; null leads it nowhere again.</summary>
    internal void ConnectTo(IInterrupt? target) => _target = target;
}
