namespace Vmm.Devices.Simulation;

/// <summary>An interrupt line to what looks at it: whether it is up, and how often it was asserted. Any thread asserts it.</summary>
internal sealed class CountingLine : IInterrupt
{
    private int _asserts;
    private volatile bool _isUp;

    internal bool IsUp => _isUp;

    /// <summary>How often it was asserted.</summary>
    internal int Asserts => Volatile.Read(ref _asserts);

    /// <inheritdoc/>
    public void Assert()
    {
        _isUp = true;
        Interlocked.Increment(ref _asserts);
    }

    /// <inheritdoc/>
    public void Deassert() => _isUp = false;
}
