namespace Vmm.Devices.Tests;

/// <summary>An interrupt line whose state and asserts a test looks at. Any thread asserts it.</summary>
internal sealed class SeenLine : IInterrupt
{
    private int _asserts;

    internal bool IsUp { get; private set; }

    /// <summary>How often it was asserted.</summary>
    internal int Asserts => Volatile.Read(ref _asserts);

    public void Assert()
    {
        IsUp = true;
        Interlocked.Increment(ref _asserts);
    }

    public void Deassert() => IsUp = false;
}
